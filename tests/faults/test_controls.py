"""Take each protection out of a copy of the code: the test that shows it must fail there.

A test that passes without its protection shows nothing. A comment in the source, `# control: <name>`, marks each
protection, so that code can be renamed and moved; tests/support/controls.py takes it out.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.clone import copy_tracked
from tests.support.controls import Instead, marked, without


@dataclass(frozen=True)
class Control:
    """The test that must fail, and what replaces the protection where the default does not fit."""

    test: str
    instead: Instead = None


STEP = "run/test_command_line.py"
CHECKPOINTS = "training/test_checkpoints.py"
ENDING = "flows/pipeline/test_ending.py"
TRANSFERS = "fetch/test_transfers.py"
MIRRORS = "fetch/test_mirrors.py"
ARCHIVES = "fetch/test_archives.py"
ARCHIVED = "layouts/test_archived.py"
GIT = "flows/repo/test_git.py"
SECRETS = "faults/test_secrets_and_injection.py"
MODELS = "faults/test_hostile_models.py"
STATES = "models/test_torch_state.py"
DAMAGED_STATE = f"{STATES}::test_what_is_hostile_or_damaged_is_refused_and_runs_nothing"
PARAMETERS = "params/test_params.py"
RESTARTS = f"{TRANSFERS}::test_it_starts_over_where_the_rest_would_not_fit"
NO_PARAMETER_FILE = f"{PARAMETERS}::test_a_file_that_is_no_parameter_file_is_one_line"

CONTROLS = {
    # --- kills
    "step lock": Control(f"{STEP}::test_a_step_never_runs_twice_at_once_in_a_folder"),
    "installed libraries": Control(f"{STEP}::test_a_step_refuses_another_version_of_a_library"),
    "end with the caller": Control(f"{STEP}::test_a_step_ends_with_its_parent_process"),
    "caller that died before": Control(f"{STEP}::test_a_step_orphaned_while_it_imported_does_not_begin"),
    "atomic outputs": Control(
        "run/test_outputs.py::test_outputs_appear_when_the_block_ends_well_and_only_then",
        (r'f"\.part-\{(\w+)\.name\}"', r"\1.name"),
    ),
    "checkpoint digest": Control(
        f"{CHECKPOINTS}::test_a_flipped_digit_of_the_history_is_damage_too", (r"!= \w+\([^)]*\)", "is None")
    ),
    "checkpoint key": Control(f"{CHECKPOINTS}::test_other_data_or_another_machine_is_another_key", '"one for all"'),
    "checkpoint before a damaged one": Control(
        f"{CHECKPOINTS}::test_a_damaged_checkpoint_gives_way_to_the_one_before", "return None"
    ),
    "training without checkpoints": Control(f"{CHECKPOINTS}::test_training_goes_on_without_a_checkpoint", "raise"),
    "end of what is about to begin": Control(
        f"{ENDING}::test_what_starts_while_everything_is_ended_is_ended_too",
    ),
    "end of children": Control(f"{ENDING}::test_what_is_ended_leaves_no_process_and_no_lock"),
    "swallowed signal": Control(
        f"{ENDING}::test_a_signal_that_is_swallowed_while_a_line_is_logged_still_ends_the_stage"
    ),
    # --- git
    "identity of hidden commits": Control(f"{GIT}::test_an_isolated_run_is_kept_for_a_user_without_identity", "{}"),
    "no hooks": Control(f"{GIT}::test_no_hook_of_the_users_runs_on_an_isolated_run[in_the_repository]", "()"),
    "paths below the top": Control(
        f"{GIT}::test_an_isolated_run_is_kept_wherever_the_project_lies[subfolder]", (r":\./", ":")
    ),
    "DVC without git in a worktree": Control(
        f"{GIT}::test_an_isolated_run_is_kept_wherever_the_project_lies[submodule]",
    ),
    "link to the checkpoints": Control(f"{GIT}::test_checkpoints_of_an_isolated_run_outlive_it[subfolder]"),
    "link to an input": Control(f"{GIT}::test_an_isolated_run_is_given_what_a_slot_names_and_git_does_not_keep"),
    "look for a merge": Control(f"{GIT}::test_the_way_out_of_a_merge_that_is_named_ends_it[False]", "list[str]()"),
    # --- download
    "Range": Control(f"{TRANSFERS}::test_a_cut_connection_resumes_where_it_broke_off", ('"Range"', '"X-Range"')),
    "If-Range": Control(f"{RESTARTS}[the content has changed]", ('"If-Range"', '"X-If-Range"')),
    "validator of what came": Control(f"{TRANSFERS}::test_the_next_run_resumes_too"),
    "weak tags": Control(f"{RESTARTS}[a weak tag joins no parts]", ('"W/"', '"never"')),
    "place of a part": Control(f"{RESTARTS}[it sends another part]"),
    "size of a source": Control(
        f"{TRANSFERS}::test_no_more_is_accepted_than_the_source_has[announced]", (r"\w+ or ", "")
    ),
    "redirects to plain http": Control(f"{TRANSFERS}::test_a_redirect_to_plain_http_is_never_followed"),
    "archive digest": Control(f"{MIRRORS}::test_wrong_bytes_are_refused_and_not_built_upon"),
    "wrong bytes": Control(f"{MIRRORS}::test_wrong_bytes_are_refused_and_not_built_upon"),
    "one download at a time": Control(f"{MIRRORS}::test_two_downloads_at_once_send_one_request"),
    "refused archive": Control("test_download.py::test_a_cached_page_is_quarantined"),
    "bomb": Control(
        f"{ARCHIVES}::test_a_bomb_is_refused_beyond_the_data_sets_size[a header that would fill the memory]"
    ),
    "archive member": Control(f"{ARCHIVES}::test_an_unexpected_member_is_refused_by_name"),
    "file digest": Control(f"{ARCHIVES}::test_an_unexpected_member_is_refused_by_name"),
    # --- own images
    "packed image": Control("datasets/test_packed.py::test_damage_to_a_shard_names_shard_and_row"),
    "path of an image": Control(f"{ARCHIVED}::test_a_member_that_would_do_harm_is_refused_by_name"),
    "link in an archive": Control(f"{ARCHIVED}::test_links_and_devices_in_a_tar_are_refused"),
    "size of an image": Control(f"{ARCHIVED}::test_a_member_larger_than_an_image_is_refused"),
    "zip bomb": Control(f"{ARCHIVED}::test_an_archive_that_unpacks_to_too_much_is_refused"),
    "end of a tar": Control(f"{ARCHIVED}::test_a_tar_that_was_cut_between_two_members_is_refused"),
    # --- hostile input
    "unknown keys": Control(
        "faults/test_parameters.py::test_an_unknown_sibling_is_named_with_the_known_ones", (r'extra="forbid",?', "")
    ),
    "strict types": Control(
        "faults/test_parameters.py::test_a_wrong_value_is_one_line_that_names_its_key", (r"strict=True,?", "")
    ),
    "anchors": Control(NO_PARAMETER_FILE),
    "size of a parameter file": Control(NO_PARAMETER_FILE),
    "model file": Control(f"{MODELS}::test_what_is_no_keras_archive_is_refused_under_any_name"),
    "safe mode": Control(
        f"{MODELS}::test_the_code_of_a_lambda_would_run_without_safe_mode",
        ("compile=False", "compile=False, safe_mode=False"),
    ),
    "paths in a model": Control(f"{MODELS}::test_a_member_outside_of_the_model_archive_is_refused"),
    "escaping": Control(
        "reporting/test_page.py::test_names_and_values_are_text_and_never_markup",
        ("autoescape=True", "autoescape=False"),
    ),
    # --- pretrained weights
    "names in a pickle": Control(DAMAGED_STATE, "return super().find_class(module, name)"),
    "size of a storage": Control(DAMAGED_STATE),
    "end of a state dict": Control(DAMAGED_STATE),
    "views of a storage": Control(f"{STATES}::test_a_view_that_reaches_out_of_its_storage_is_refused"),
    "digest of the weights": Control(
        "faults/test_hostile_weights.py::test_weights_with_another_digest_are_refused_unread"
    ),
    # --- secrets
    "query of an address": Control(
        f"{SECRETS}::test_a_token_in_an_address_is_neither_printed_nor_recorded", ('query="", ', "")
    ),
    "query of a refused address": Control(
        f"{SECRETS}::test_a_token_in_a_refused_address_is_not_shown", (r"_\w+\((\w+)\)", r"\1")
    ),
    "local settings": Control(f"{SECRETS}::test_a_remotes_password_is_in_no_experiment", ('"local"', '"repo"')),
    "name of an experiment": Control(
        f"{SECRETS}::test_an_experiment_is_named_with_letters_digits_and_hyphens", (r"\[\^A-Za-z0-9-\]\+", "$^")
    ),
}


def test_every_marked_protection_has_its_control() -> None:
    names = [name for name, _ in marked(ROOT)]
    assert sorted(names) == sorted(CONTROLS)


def test_every_control_names_a_test_that_exists() -> None:
    for control in CONTROLS.values():
        file, test = control.test.split("[")[0].split("::")
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), control


def test_what_is_left_without_a_protection_is_code_whose_names_are_known(tmp_path: Path) -> None:
    """Otherwise a test could fail for another reason than the lack of its protection."""
    for name, file in marked(ROOT):
        code = file.read_text(encoding="utf-8")
        left = without(code, name, CONTROLS[name].instead)
        assert left != code
        (tmp_path / f"{name.replace(' ', '_')}.py").write_text(left, encoding="utf-8")
    ruff = Path(sys.executable).with_name("ruff")
    subprocess.run([ruff, "check", "--isolated", "--quiet", "--select", "F821", tmp_path], check=True)


@pytest.mark.parametrize(
    ("code", "instead", "left"),
    [
        ("if a:  # control: it\n    b()\n", None, "if False:  # control: it\n    b()\n"),
        ("if (\n    a\n    and b\n):  # control: it\n    c()\n", None, "if (\n    False\n):  # control: it\n    c()\n"),
        ("while not a:  # control: it\n    b()\n", None, "while True:  # control: it\n    b()\n"),
        ("f(\n    'é×',  # control: it\n    1,\n)\ng()\n", None, "pass\ng()\n"),
        ("try:\n    a()\nexcept B as c:  # control: it\n    d(c)\n", None,
         "try:\n    a()\nexcept () as c:  # control: it\n    d(c)\n"),
        ("def a():\n    return b(1)  # control: it\n", "2", "def a():\n    return 2  # control: it\n"),
        ("# control: other, it\na = b(1)  # why\n", "2", "# control: other, it\na = 2  # why\n"),
        ("a = b(x=1, y=2)  # control: it\n", (r"x=1, ", ""), "a = b(y=2)  # control: it\n"),
    ],
)  # fmt: skip
def test_the_statement_of_a_marker_is_taken_out_however_it_is_laid_out(code: str, instead: Instead, left: str) -> None:
    assert without(code, "it", instead) == left


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this repository's files, in a repository of its own."""
    made = tmp_path_factory.mktemp("without")
    copy_tracked(made)
    subprocess.run(["git", "init", "--quiet"], cwd=made, check=True)
    return made


@pytest.fixture
def unprotected(copy: Path, name: str) -> Iterator[Path]:
    """The copy without a protection."""
    file = dict(marked(copy))[name]
    code = file.read_text(encoding="utf-8")
    file.write_text(without(code, name, CONTROLS[name].instead), encoding="utf-8")
    yield copy
    file.write_text(code, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTROLS)
def test_without_its_protection_a_test_fails(unprotected: Path, name: str) -> None:
    test = f"tests/{CONTROLS[name].test}"
    settings = {
        "PYTHONDONTWRITEBYTECODE": "1",  # bytecode goes by the second of a change
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # a third of the start
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", test],
        cwd=unprotected,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert f"FAILED {test}" in done.stdout, done.stdout[-3000:]
    assert " error" not in done.stdout.splitlines()[-1], done.stdout[-3000:]
