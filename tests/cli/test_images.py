import pytest

from launcher import cli, patchexport
from launcher.core.benchmark import Benchmark
from launcher.patchexport import Exported


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["tree", "--reference", "/nowhere", "--to", "/nowhere/else"],
            "/nowhere does not exist; give",
        ),
        (["check-patches", "--reference", "/nowhere"], "/nowhere does not exist; give"),
        (["patches", "--task", "bert", "--tree", "/nowhere"], "no tree of ours; make it"),
        (["images", "build", "--bundle", "/nowhere"], "is no bundle"),
        (["bundle", "verify", "/nowhere"], "is no bundle"),
    ],
)
def test_a_place_that_is_not_there_is_one_sentence_and_exit_code_2(arguments, said, capsys):
    assert cli.run(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_unknown_task_is_refused_with_those_there_are(capsys):
    assert cli.run(["tree", "--task", "dlrm"]) == 2
    error = capsys.readouterr().err
    assert "resnet" in error
    assert "bert" in error


@pytest.mark.parametrize(
    ("stale", "body", "code"),
    [([], b"\nUpstream: N/A a test\n", 0), (["bert/series"], b"\nUpstream: x\n", 1), ([], b"", 1)],
)
def test_a_patch_that_does_not_come_back_or_lacks_its_trailer_fails(
    monkeypatch, capsys, stale, body, code
):
    name = "0001-x.patch"
    exported = Exported(files={f"bert/{name}": patchexport.File(body)}, patches=(name,))
    monkeypatch.setattr(patchexport, "check", lambda *_: (stale, exported))
    assert cli.run(["check-patches", "--task", "bert", "--reference", "any"]) == code
    said = capsys.readouterr().out
    assert all(f"patches/{each} does not come back" in said for each in stale)
    assert ("has no Upstream: trailer" in said) is (body == b"")


@pytest.mark.reference
@pytest.mark.parametrize("benchmark", Benchmark)
def test_a_tree_is_made_and_its_id_printed(benchmark, tmp_path, capsys, request):
    place = str(request.getfixturevalue("reference"))
    arguments = ["tree", "--task", benchmark.value, "--reference", place, "--to", str(tmp_path)]
    assert cli.run(arguments) == 0
    assert f"{tmp_path / benchmark.value}: tree " in capsys.readouterr().out
    assert (tmp_path / benchmark.value / benchmark.facts.overlay / "run_and_time.sh").is_file()
