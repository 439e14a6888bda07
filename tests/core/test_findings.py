from launcher.core.findings import Finding, Severity, valid

ERROR = Finding(rule="compliance", where="run_0", message="no")
WARNING = Finding(rule="clock", where="run_0", message="hm", severity=Severity.WARNING)


def test_only_an_error_makes_a_result_invalid():
    assert valid([])
    assert valid((WARNING,))
    assert not valid([WARNING, ERROR])
