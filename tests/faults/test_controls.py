"""Each protection is taken out of a copy of the code, and the test that shows it must fail there.

A test that passes without its protection would show nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.clone import copy_tracked

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Control:
    """Where a protection is, what is put in its place, and the test that must notice."""

    file: str
    protection: str
    instead: str
    test: str


TRANSFERS = "faults/test_transfers.py"
ARCHIVES = "faults/test_archives.py"
GIT = "flows/test_git.py"
SECRETS = "faults/test_secrets_and_injection.py"

CONTROLS = {
    # --- kills
    "a step's lock": Control(
        "tasks/step.py",
        'with FileLock(RUN_INFO.with_name(f".{step.__name__}.lock"), timeout=0):',
        "if True:",
        "test_step.py::test_a_step_never_runs_twice_at_once_in_a_folder",
    ),
    "the signal of a caller's death": Control(
        "tasks/step.py",
        "ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)",
        "pass",
        "test_step.py::test_a_step_ends_with_the_process_that_called_it",
    ),
    "the look for a caller that died before": Control(
        "tasks/step.py",
        "if os.getppid() != PARENT_PID:",
        "if False:",
        "test_step.py::test_a_step_whose_caller_was_killed_while_it_imported_does_not_begin",
    ),
    "a checkpoint's digest": Control(
        "tasks/checkpoints.py",
        'fields.pop("sha256", None) != _digest(fields, arrays)',
        'fields.pop("sha256", None) is None',
        "test_checkpoints.py::test_a_flipped_digit_of_the_history_is_damage_too",
    ),
    "a checkpoint's key": Control(
        "tasks/checkpoints.py",
        "return digest.hexdigest()[:16]",
        'return "one for all"',
        "test_checkpoints.py::test_other_data_or_another_machine_is_another_key",
    ),
    "the checkpoint before a damaged one": Control(
        "tasks/checkpoints.py",
        'print(f"checkpoint {folder.name} is damaged and passed over: {error}")',
        "return None",
        "test_checkpoints.py::test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used",
    ),
    "another name until the end": Control(
        "tasks/outputs.py",
        'output.with_name(f".part-{output.name}") for output in outputs',
        "output for output in outputs",
        "test_outputs.py::test_outputs_appear_when_the_block_ends_well_and_only_then",
    ),
    "training on without a checkpoint": Control(
        "tasks/checkpoints.py",
        'print(f"the checkpoint of epoch {len(state.rows)} could not be written: {error}")',
        "raise",
        "test_checkpoints.py::test_a_checkpoint_that_cannot_be_written_does_not_end_the_training",
    ),
    "the end of what is about to begin": Control(
        "flows/processes.py",
        "if ending.is_set():",
        "if False:",
        "flows/test_ending.py::test_what_starts_while_everything_is_ended_is_ended_too",
    ),
    "the end of what is below": Control(
        "flows/processes.py",
        "_signal(child.terminate)",
        "pass",
        "flows/test_ending.py::test_what_is_ended_leaves_no_process_and_no_lock",
    ),
    "a signal that came meanwhile": Control(
        "flows/processes.py",
        "log(line)\n                    raise_again()",
        "log(line)",
        "flows/test_ending.py::test_a_signal_that_is_swallowed_while_a_line_is_logged_still_ends_the_stage",
    ),
    "the end of waiting": Control(
        "flows/study.py",
        "while not ending.is_set():",
        "while True:",
        "flows/test_ending.py::test_whoever_waits_for_a_slot_stops_when_the_study_ends",
    ),
    # --- git
    "an identity for hidden commits": Control(
        "flows/git.py",
        "variables=_identity(root)",
        "variables={}",
        f"{GIT}::test_an_isolated_run_is_kept_for_a_user_without_identity",
    ),
    "no hooks": Control(
        "flows/git.py",
        '["git", *NO_HOOKS, *arguments]',
        '["git", *arguments]',
        f"{GIT}::test_no_hook_of_the_users_runs_on_an_isolated_run[in_the_repository]",
    ),
    "paths below the top of a repository": Control(
        "flows/git.py",
        'f"{commit}:./{path}"',
        'f"{commit}:{path}"',
        f"{GIT}::test_an_isolated_run_is_kept_wherever_the_project_lies[subfolder]",
    ),
    "DVC without git in a worktree": Control(
        "flows/experiments.py",
        'local["core"]["no_scm"] = True',
        "pass",
        f"{GIT}::test_an_isolated_run_is_kept_wherever_the_project_lies[submodule]",
    ),
    "the link to the checkpoints": Control(
        "flows/experiments.py",
        "(checkout / checkpoints.FOLDER).symlink_to((root / checkpoints.FOLDER).absolute())",
        "pass",
        f"{GIT}::test_checkpoints_of_an_isolated_run_outlive_it[subfolder]",
    ),
    "the look for a merge": Control(
        "flows/doctor.py",
        "if files := unresolved(self.root):",
        "if files := list[str]():",
        f"{GIT}::test_the_way_out_of_a_merge_that_is_named_ends_it[False]",
    ),
    # --- download
    "Range": Control(
        "tasks/transfer.py",
        '"Range": f"bytes={have}-", ',
        "",
        f"{TRANSFERS}::test_a_cut_connection_goes_on_where_it_broke_off",
    ),
    "the mark of what came": Control(
        "tasks/transfer.py",
        'mark.write_text(_mark(response), encoding="utf-8")',
        "pass",
        f"{TRANSFERS}::test_the_next_run_goes_on_too",
    ),
    "the end at 404": Control(
        "tasks/transfer.py",
        "raise SourceError(status)",
        "raise InterruptedTransferError(status)",
        f"{TRANSFERS}::test_what_is_not_there_is_not_asked_for_again",
    ),
    "an archive that is set aside": Control(
        "tasks/download.py",
        "if archive.parent == cache_folder():",
        "if False:",
        "test_download.py::test_a_page_that_was_cached_as_an_archive_is_set_aside",
    ),
    "the end of a bomb": Control(
        "tasks/download.py",
        "if self.stream.tell() > MAX_UNPACKED_BYTES:",
        "if False:",
        f"{ARCHIVES}::test_a_bomb_is_left_once_it_exceeds_the_data_set[a header that would fill the memory]",
    ),
    "If-Range": Control(
        "tasks/transfer.py",
        ', "If-Range": known}',
        "}",
        f"{TRANSFERS}::test_it_starts_over_where_the_rest_would_not_fit[the content has changed]",
    ),
    "weak tags": Control(
        "tasks/transfer.py",
        'tag if tag and not tag.startswith("W/") else',
        "tag if tag else",
        f"{TRANSFERS}::test_it_starts_over_where_the_rest_would_not_fit[a weak tag joins no parts]",
    ),
    "the place of a part": Control(
        "tasks/transfer.py",
        'return have if part.startswith(f"{have}-") else None,',
        "return have,",
        f"{TRANSFERS}::test_it_starts_over_where_the_rest_would_not_fit[it sends another part]",
    ),
    "the deadline of a stall": Control(
        "tasks/transfer.py",
        "timeout=httpx.Timeout(STALL_SECONDS, connect=REACH_SECONDS)",
        "timeout=None",
        f"{TRANSFERS}::test_a_server_that_stalls_is_left_after_its_deadline_and_what_came_is_kept",
    ),
    "the deadline of a transfer": Control(
        "tasks/transfer.py",
        "if time.monotonic() > deadline:",
        "if False:",
        f"{TRANSFERS}::test_a_server_that_drips_is_left_after_its_deadline",
    ),
    "Retry-After": Control(
        "tasks/transfer.py",
        "error.pause if isinstance(error, InterruptedTransferError) else 0.0",
        "0.0",
        f"{TRANSFERS}::test_it_comes_back_when_the_server_asks_for_it",
    ),
    "the end of patience": Control(
        "tasks/transfer.py",
        'raise UnreachableError(f"{status}, and asks to come back in {pause:,.0f} s")',
        "raise InterruptedTransferError(status)",
        f"{TRANSFERS}::test_a_server_that_asks_for_an_hour_is_left_to_a_later_run",
    ),
    "the size of a source": Control(
        "tasks/transfer.py",
        "cap = size or MAX_BYTES",
        "cap = MAX_BYTES",
        f"{TRANSFERS}::test_no_more_is_accepted_than_the_source_has[announced]",
    ),
    "redirects to plain http": Control(
        "tasks/transfer.py",
        'event_hooks={"request": [_refuse_redirects_to_plain_http(url)]},',
        "",
        f"{TRANSFERS}::test_a_redirect_to_plain_http_is_refused_before_anything_is_asked_there",
    ),
    "the file that a full disk is about": Control(
        "tasks/transfer.py",
        "error.filename = error.filename or str(partial)",
        "pass",
        f"{TRANSFERS}::test_a_full_disk_names_the_file_and_keeps_what_came",
    ),
    "an archive's digest": Control(
        "tasks/download.py",
        "if received != source.sha256:",
        "if False:",
        f"{TRANSFERS}::test_wrong_bytes_are_refused_and_not_built_upon",
    ),
    "forgetting wrong bytes": Control(
        "tasks/download.py",
        "partial.unlink()",
        "pass",
        f"{TRANSFERS}::test_wrong_bytes_are_refused_and_not_built_upon",
    ),
    "one download at a time": Control(
        "tasks/download.py",
        'with FileLock(cache / f"{archive.name}.lock"):',
        "if True:",
        f"{TRANSFERS}::test_two_downloads_at_once_ask_once",
    ),
    "the kind of a member": Control(
        "tasks/download.py",
        "if not member.isreg() or member.size > wanted[name] or name in seen:",
        "if False:",
        f"{ARCHIVES}::test_a_member_that_is_not_the_expected_file_is_refused_by_name",
    ),
    "a file's digest": Control(
        "tasks/download.py",
        "if received != digests[target]:",
        "if False:",
        f"{ARCHIVES}::test_a_member_that_is_not_the_expected_file_is_refused_by_name",
    ),
    "the form of a PNG": Control(
        "tasks/download.py",
        'if image.size != PNG_SIZE or image.mode != "RGB":',
        "if False:",
        "test_download.py::test_a_wrong_png_or_label_file_is_refused",
    ),
    "the range of labels": Control(
        "tasks/download.py",
        " or values.min() < 0 or values.max() > 9:",
        ":",
        "test_download.py::test_a_wrong_png_or_label_file_is_refused",
    ),
    # --- damage
    "the shape of arrays": Control(
        "tasks/arrays.py",
        "images.dtype != np.uint8 or images.shape[1:] != shape or labels.shape != images.shape[:1]",
        "False",
        "test_arrays.py::test_damage_is_one_line_that_names_the_file",
    ),
    "the sense of constants": Control(
        "tasks/arrays.py",
        "if not (np.isfinite(mean).all() and np.isfinite(std).all() and np.greater(std, 0).all()):",
        "if False:",
        "test_arrays.py::test_damage_is_one_line_that_names_the_file",
    ),
    # --- bad input
    "the sense of a calibration": Control(
        "tasks/classify.py",
        "except (ValueError, LookupError, TypeError) as error:",
        "except UnicodeError as error:",
        "test_classify.py::test_a_damaged_calibration_is_one_line",
    ),
    "the numbers of a history": Control(
        "tasks/evaluate.py",
        "except (ValueError, TypeError) as error:",
        "except UnicodeError as error:",
        "test_train_and_evaluate.py::test_a_damaged_history_is_one_line",
    ),
    "unknown keys": Control(
        "tasks/params/block.py",
        'extra="forbid"',
        'extra="ignore"',
        "faults/test_parameters.py::test_an_unknown_sibling_is_named_with_the_known_ones",
    ),
    "types of values": Control(
        "tasks/params/block.py",
        "strict=True",
        "strict=False",
        "faults/test_parameters.py::test_a_wrong_value_is_one_line_that_names_its_key",
    ),
    "ranges of values": Control(
        "tasks/params/train.py",
        "Field(ge=1, le=10_000)",
        "Field()",
        "params/test_params.py::test_a_broken_rule_is_one_line",
    ),
    "anchors": Control(
        "tasks/params/reader.py",
        "if event.anchor is not None:",
        "if False:",
        "params/test_params.py::test_a_file_that_is_no_parameter_file_is_one_line",
    ),
    "the size of a parameter file": Control(
        "tasks/params/reader.py",
        "if size > MAX_BYTES:",
        "if False:",
        "params/test_params.py::test_a_file_that_is_no_parameter_file_is_one_line",
    ),
    "images that vary": Control(
        "tasks/core/pixels.py",
        "if not (std > 0).all():",
        "if False:",
        "faults/test_senseless_data.py::test_images_that_teach_nothing_are_refused",
    ),
    "room for every class in a split": Control(
        "tasks/core/splits.py",
        "if min(counts) < 2 or min(n_kept, len(rows) - n_kept) < len(classes):",
        "if False:",
        "faults/test_senseless_data.py::test_a_split_that_cannot_hold_every_class_is_refused",
    ),
    "weights too large to compute with": Control(
        "tasks/core/callbacks.py",
        "_refuse_divergence(epoch, row)",
        "pass",
        "core/test_callbacks.py::test_finite_weights_too_large_to_compute_with_are_refused",
    ),
    "a model file that is none": Control(
        "tasks/saved_model.py",
        "except Exception as error:",
        "except ValueError as error:",
        "faults/test_hostile_models.py::test_what_is_no_keras_archive_is_refused_under_any_name",
    ),
    "safe mode": Control(
        "tasks/saved_model.py",
        "compile=False)",
        "compile=False, safe_mode=False)",
        "faults/test_hostile_models.py::test_the_code_of_a_lambda_would_run_without_safe_mode",
    ),
    "the shape of a model": Control(
        "tasks/saved_model.py",
        "if received != ((None, *image_shape), (None, n_classes)):",
        "if False:",
        "faults/test_hostile_models.py::test_a_model_for_other_images_or_classes_is_refused",
    ),
    "paths in a model": Control(
        "tasks/saved_model.py",
        "        if outside:",
        "        if False:",
        "faults/test_hostile_models.py::test_a_member_that_leaves_the_archive_is_refused_before_anything_is_read",
    ),
    "escaping": Control(
        "tasks/core/page.py",
        "autoescape=True",
        "autoescape=False",
        "core/test_report.py::test_names_and_values_are_text_and_never_markup",
    ),
    "the query of an address": Control(
        "tasks/params/download.py",
        'return urlsplit(url)._replace(query="", fragment="").geturl()',
        "return url",
        f"{SECRETS}::test_a_token_in_an_address_is_neither_printed_nor_recorded",
    ),
    "the query of an address that is refused": Control(
        "tasks/params/download.py",
        "shown = repr(_without_query(url))",
        "shown = repr(url)",
        f"{SECRETS}::test_a_token_in_an_address_that_is_refused_is_not_shown",
    ),
    "settings that stay here": Control(
        "flows/experiments.py",
        '.edit("local")',
        '.edit("repo")',
        f"{SECRETS}::test_a_remotes_password_is_in_no_experiment",
    ),
    "the name of an experiment": Control(
        "flows/experiments.py",
        ".strip('-')[:80]",
        "",
        f"{SECRETS}::test_an_experiment_is_named_with_letters_digits_and_hyphens",
    ),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's files, in a repository of their own."""
    made = tmp_path_factory.mktemp("without")
    copy_tracked(made)
    subprocess.run(["git", "init", "--quiet"], cwd=made, check=True)
    return made


@pytest.mark.parametrize("without", CONTROLS)
def test_without_its_protection_a_test_fails(copy: Path, without: str) -> None:
    control = CONTROLS[without]
    file, test = copy / control.file, f"tests/{control.test}"
    code = file.read_text(encoding="utf-8")
    assert code.count(control.protection) == 1, f"{control.file} must hold once: {control.protection}"
    file.write_text(code.replace(control.protection, control.instead), encoding="utf-8")
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
        settings = {
            "PYTHONDONTWRITEBYTECODE": "1",  # bytecode goes by the second of a change
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # a third of the start
        }
        done = subprocess.run(
            command, cwd=copy, env={**os.environ, **settings}, capture_output=True, text=True, check=False, timeout=300
        )
    finally:
        file.write_text(code, encoding="utf-8")
    assert f"FAILED {test}" in done.stdout, done.stdout[-3000:]
    assert " error" not in done.stdout.splitlines()[-1], done.stdout[-3000:]
