"""Take each protection out of a copy of the code: the test that shows it must fail there.

A test that passes without its protection shows nothing. A comment in the source, `# control: <name>`, marks each
protection, so that code can be renamed and moved; tests/support/controls.py takes it out.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.clone import copy_tracked
from tests.support.controls import Instead, marked, without

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
STATES = "pretrained/test_torch_state.py"
DAMAGED_STATE = f"{STATES}::test_what_is_hostile_or_damaged_is_refused_and_runs_nothing"
PARAMETERS = "params/test_params.py"
RESTARTS = f"{TRANSFERS}::test_it_starts_over_where_the_rest_would_not_fit"
NO_PARAMETER_FILE = f"{PARAMETERS}::test_a_file_that_is_no_parameter_file_is_one_line"

# The test that must fail without a protection.
TESTS = {
    # --- kills
    "step lock": f"{STEP}::test_a_step_never_runs_twice_at_once_in_a_folder",
    "installed libraries": f"{STEP}::test_a_step_refuses_another_version_of_a_library",
    "end with the caller": f"{STEP}::test_a_step_ends_with_its_parent_process",
    "caller that died before": f"{STEP}::test_a_step_orphaned_while_it_imported_does_not_begin",
    "atomic outputs": "run/test_outputs.py::test_outputs_appear_when_the_block_ends_well_and_only_then",
    "checkpoint digest": f"{CHECKPOINTS}::test_a_flipped_digit_of_the_history_is_damage_too",
    "checkpoint key": f"{CHECKPOINTS}::test_other_data_or_another_machine_is_another_key",
    "checkpoint before a damaged one": f"{CHECKPOINTS}::test_a_damaged_checkpoint_gives_way_to_the_one_before",
    "training without checkpoints": f"{CHECKPOINTS}::test_training_goes_on_without_a_checkpoint",
    "end of what is about to begin": f"{ENDING}::test_what_starts_while_everything_is_ended_is_ended_too",
    "end of children": f"{ENDING}::test_what_is_ended_leaves_no_process_and_no_lock",
    "swallowed signal": f"{ENDING}::test_a_signal_that_is_swallowed_while_a_line_is_logged_still_ends_the_stage",
    # --- git
    "identity of hidden commits": f"{GIT}::test_an_isolated_run_is_kept_for_a_user_without_identity",
    "no hooks": f"{GIT}::test_no_hook_of_the_users_runs_on_an_isolated_run[git]",
    "paths below the top": f"{GIT}::test_an_isolated_run_is_kept_wherever_the_project_lies[subfolder]",
    "DVC without git in a worktree": f"{GIT}::test_an_isolated_run_is_kept_wherever_the_project_lies[submodule]",
    "link to the checkpoints": f"{GIT}::test_checkpoints_of_an_isolated_run_outlive_it[subfolder]",
    "link to an input": f"{GIT}::test_an_isolated_run_is_given_what_a_slot_names_and_git_does_not_keep",
    "look for a merge": f"{GIT}::test_the_way_out_of_a_merge_that_is_named_ends_it[False]",
    # --- download
    "Range": f"{TRANSFERS}::test_a_cut_connection_resumes_where_it_broke_off",
    "If-Range": f"{RESTARTS}[the content has changed]",
    "validator of what came": f"{TRANSFERS}::test_the_next_run_resumes_too",
    "weak tags": f"{RESTARTS}[a weak tag joins no parts]",
    "place of a part": f"{RESTARTS}[it sends another part]",
    "size of a source": f"{TRANSFERS}::test_no_more_is_accepted_than_the_source_has[announced]",
    "redirects to plain http": f"{TRANSFERS}::test_a_redirect_to_plain_http_is_never_followed",
    "archive digest": f"{MIRRORS}::test_wrong_bytes_are_refused_and_not_built_upon",
    "wrong bytes": f"{MIRRORS}::test_wrong_bytes_are_refused_and_not_built_upon",
    "one download at a time": f"{MIRRORS}::test_two_downloads_at_once_send_one_request",
    "refused archive": "test_download.py::test_a_cached_page_is_quarantined",
    "bomb": f"{ARCHIVES}::test_a_bomb_is_refused_beyond_the_data_sets_size[a header that would fill the memory]",
    "archive member": f"{ARCHIVES}::test_an_unexpected_member_is_refused_by_name",
    "file digest": f"{ARCHIVES}::test_an_unexpected_member_is_refused_by_name",
    # --- own images
    "packed image": "datasets/test_packed.py::test_damage_to_a_shard_names_shard_and_row",
    "path of an image": f"{ARCHIVED}::test_a_member_that_would_do_harm_is_refused_by_name",
    "link in an archive": f"{ARCHIVED}::test_links_and_devices_in_a_tar_are_refused",
    "size of an image": f"{ARCHIVED}::test_a_member_larger_than_an_image_is_refused",
    "zip bomb": f"{ARCHIVED}::test_an_archive_that_unpacks_to_too_much_is_refused",
    "end of a tar": f"{ARCHIVED}::test_a_tar_that_was_cut_between_two_members_is_refused",
    "files behind a tar's end": f"{ARCHIVED}::test_no_image_behind_what_ends_a_tar_for_its_reader_is_lost",
    "zip behind another": f"{ARCHIVED}::test_of_joined_archives_no_part_is_lost[a.zip-write_zip]",
    "kept result": "data/test_decoding.py::test_a_damaged_file_changes_no_pixel[of other pixels]",
    # --- hostile input
    "unknown keys": "faults/test_parameters.py::test_an_unknown_sibling_is_named_with_the_known_ones",
    "strict types": "faults/test_parameters.py::test_a_wrong_value_is_one_line_that_names_its_key",
    "anchors": NO_PARAMETER_FILE,
    "size of a parameter file": NO_PARAMETER_FILE,
    "model file": f"{MODELS}::test_what_is_no_keras_archive_is_refused_under_any_name",
    "safe mode": f"{MODELS}::test_the_code_of_a_lambda_would_run_without_safe_mode",
    "paths in a model": f"{MODELS}::test_a_member_outside_of_the_model_archive_is_refused",
    "escaping": "reporting/test_page.py::test_names_and_values_are_text_and_never_markup",
    # --- pretrained weights
    "names in a pickle": DAMAGED_STATE,
    "size of a storage": DAMAGED_STATE,
    "end of a state dict": DAMAGED_STATE,
    "views of a storage": f"{STATES}::test_a_view_that_reaches_out_of_its_storage_is_refused",
    "digest of the weights": "faults/test_hostile_weights.py::test_weights_with_another_digest_are_refused_unread",
    # --- secrets
    "query of an address": f"{SECRETS}::test_a_token_in_an_address_is_neither_printed_nor_recorded",
    "query of a refused address": f"{SECRETS}::test_a_token_in_a_refused_address_is_not_shown",
    "local settings": f"{SECRETS}::test_a_remotes_password_is_in_no_experiment",
    "name of an experiment": f"{SECRETS}::test_an_experiment_is_named_with_letters_digits_and_hyphens",
}

# What replaces a protection where the default does not fit.
INSTEAD: dict[str, Instead] = {
    "atomic outputs": (r'f"\.part-\{(\w+)\.name\}"', r"\1.name"),
    "checkpoint digest": (r"!= .*encode\(\)", "is None"),
    "checkpoint key": '"one for all"',
    "checkpoint before a damaged one": "return None",
    "training without checkpoints": "raise",
    "identity of hidden commits": "{}",
    "no hooks": "()",
    "paths below the top": (r":\./", ":"),
    "look for a merge": "list[str]()",
    "Range": ('"Range"', '"X-Range"'),
    "If-Range": ('"If-Range"', '"X-If-Range"'),
    "weak tags": ('"W/"', '"never"'),
    "size of a source": (r"\w+ or ", ""),
    "unknown keys": (r'extra="forbid",?', ""),
    "strict types": (r"strict=True,?", ""),
    "safe mode": ("compile=False", "compile=False, safe_mode=False"),
    "escaping": ("autoescape=True", "autoescape=False"),
    "names in a pickle": "return super().find_class(module, name)",
    "query of an address": ('query="", ', ""),
    "query of a refused address": (r"_\w+\((\w+)\)", r"\1"),
    "local settings": ('"local"', '"repo"'),
    "name of an experiment": (r"\[\^A-Za-z0-9-\]\+", "$^"),
}


def test_every_marked_protection_has_its_control() -> None:
    names = [name for name, _ in marked(ROOT)]
    assert sorted(names) == sorted(TESTS)
    assert INSTEAD.keys() <= TESTS.keys()


def test_every_control_names_a_test_that_exists() -> None:
    for name in TESTS.values():
        file, test = name.split("[")[0].split("::")
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), name


def test_what_is_left_without_a_protection_is_code_whose_names_are_known(tmp_path: Path) -> None:
    """Otherwise a test could fail for another reason than the lack of its protection."""
    for name, file in marked(ROOT):
        code = file.read_text(encoding="utf-8")
        left = without(code, name, INSTEAD.get(name))
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
    file.write_text(without(code, name, INSTEAD.get(name)), encoding="utf-8")
    yield copy
    file.write_text(code, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_without_its_protection_a_test_fails(unprotected: Path, name: str) -> None:
    test = f"tests/{TESTS[name]}"
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
