"""Arrays in, arrays out: the arithmetic of the pipeline, with no paths, no Prefect and no DVC."""
