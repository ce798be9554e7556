"""At the end of the tests, a table: how long each notebook took."""


def pytest_terminal_summary(terminalreporter):
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    seconds = dict(
        value for report in reports for name, value in getattr(report, "user_properties", []) if name == "notebook"
    )
    if seconds:
        terminalreporter.section("seconds a notebook, with its start, on this machine as busy as it was")
    for name, value in sorted(seconds.items()):
        terminalreporter.write_line(f"{value:7.1f}  {name}")
    if seconds:
        terminalreporter.write_line(f"{sum(seconds.values()):7.1f}  together")
