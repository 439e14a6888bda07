import dataclasses

import pytest
import yaml

from launcher import paths, render, systems
from launcher.core.benchmark import Benchmark
from launcher.core.settings import resolve
from launcher.core.system import Choice
from launcher.errors import ConfigError


def rendered(benchmark, name="example-8xh200", *, rehearsal=False):
    system = systems.load(paths.SYSTEMS / f"{name}.yaml")
    settings = resolve(system, benchmark, rehearsal=rehearsal)
    return render.hyperparameters(benchmark, system, settings, rehearsal=rehearsal), settings


@pytest.mark.parametrize("benchmark", Benchmark)
def test_the_file_holds_the_settings_and_says_who_may_choose(benchmark):
    text, settings = rendered(benchmark)
    values = yaml.safe_load(text)
    assert values["benchmark"] == benchmark.value
    assert values["rehearsal"] is False
    assert values["accelerators"] == 8
    assert values["submission"]["status"] in ("onprem", "cloud", "preview", "research")
    found = {key: values["hyperparameters"][key] for key in settings.hyperparameters}
    assert found == pytest.approx(dict(settings.hyperparameters))
    assert values["training"]["target_accuracy"] == benchmark.facts.quality_target
    assert "# free" in text


@pytest.mark.parametrize("benchmark", Benchmark)
def test_a_rehearsal_says_so_in_the_file(benchmark):
    text, _ = rendered(benchmark, "rehearsal", rehearsal=True)
    assert "REHEARSAL - NOT A RESULT" in text
    assert yaml.safe_load(text)["rehearsal"] is True
    assert yaml.safe_load(text)["accelerators"] == 0


def test_a_template_that_asks_for_what_is_not_there_is_named(tmp_path, monkeypatch):
    (tmp_path / "resnet.yaml.j2").write_text("{{ nothing }}")
    monkeypatch.setattr(paths, "TEMPLATES", tmp_path)
    with pytest.raises(ConfigError, match=r"resnet\.yaml\.j2: 'nothing' is undefined"):
        rendered(Benchmark.RESNET)


@pytest.mark.parametrize("value", [1e-12, 0.000352213769841, 5e-5, 1 / 3, 11.0, 1e300, -0.5])
def test_a_number_comes_out_of_the_file_as_it_went_in(value):
    text = render.exact(value)
    assert yaml.safe_load(f"a: {text}") == {"a": value}
    assert "e" not in text


@pytest.mark.parametrize("benchmark", Benchmark)
def test_a_training_value_that_the_file_does_not_take_up_is_refused(benchmark):
    system = systems.load(paths.SYSTEMS / "example-8xh200.yaml")
    choice = Choice(preset=None, hyperparameters={}, training={"precison": "fp32"})
    typo = dataclasses.replace(system, choices={benchmark: choice})
    with pytest.raises(ConfigError, match=r"training\.precison is not a known key.*precision\?"):
        render.hyperparameters(
            benchmark, typo, resolve(typo, benchmark, rehearsal=False), rehearsal=False
        )
