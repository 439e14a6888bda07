import json

from launcher import cli
from launcher.core.presets import TABLE


def test_every_preset_is_listed_with_its_odds_and_source(capsys):
    assert cli.run(["presets"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == len(TABLE) + 1
    assert "9 of 180  8x H100 and H200" in out


def test_one_benchmark_can_be_asked_for_with_every_value(capsys):
    assert cli.run(["presets", "--task", "bert", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {each["benchmark"] for each in told} == {"bert"}
    assert told[0]["hyperparameters"]["opt_lamb_beta_1"] == 0.60466


def test_an_unknown_task_is_refused_with_those_there_are(capsys):
    assert cli.run(["presets", "--task", "resnet50"]) == 2
    assert "--task is 'resnet50'; allowed: resnet, bert." in capsys.readouterr().err
