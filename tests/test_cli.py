from launcher import __version__, cli


def test_the_version_is_printed(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_an_unknown_option_is_a_usage_error(capsys):
    assert cli.run(["--colour"]) == 2
    assert "colour" in capsys.readouterr().err
