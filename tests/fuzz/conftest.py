"""How many cases were drawn, at the end."""


def pytest_terminal_summary(terminalreporter):
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    drawn = [n for report in reports for name, n in getattr(report, "user_properties", []) if name == "cases"]
    if drawn:
        terminalreporter.write_line(f"{sum(drawn)} cases of damaged and odd input were drawn")
