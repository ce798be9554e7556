"""A training that is watched in JupyterLab: its button ends it."""

from __future__ import annotations

import re

import nbformat
from lab import START, complaints, run_all
from playwright.sync_api import expect

MADE = """
import time
from matplotlib.figure import Figure
from co3course.live import LiveTraining

def fit(on_epoch):
    for epoch in range(400):
        if on_epoch(epoch, None):
            return epoch
        time.sleep(0.25)

live = LiveTraining(fit, lambda epoch, model: (Figure(figsize=(1, 1)), f"Epoch {epoch}."), 399)
live
"""


def test_the_button_ends_it(page, suite, screenshot):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(MADE)])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, suite / "live.ipynb")
    run_all(page, "live.ipynb")  # which is over while the training goes on
    expect(page.get_by_role("img", name=re.compile(r"^Epoch \d+"))).to_be_visible(timeout=START * 1000)
    page.get_by_role("button", name="Stop here").click()
    expect(page.locator(".widget-label", has_text="stopped after")).to_be_visible(timeout=20_000)
    assert complaints(page) == []
