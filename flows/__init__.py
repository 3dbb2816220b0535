"""When and where the stages run: orchestration, which never imports TensorFlow."""
