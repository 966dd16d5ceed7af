"""Figures drawn once are those that Matplotlib saves."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mbrl_agents.evaluation.figures import new_figure, pixels, save_png


@pytest.mark.parametrize("layout", [None, "constrained", "tight"])
def test_a_file_shows_what_matplotlib_would_have_saved(layout, tmp_path) -> None:
    def drawn():
        figure = new_figure(3.0, 2.0, layout=layout)
        axes = figure.subplots()
        axes.plot([0.0, 1.0], [1000.0, 3000.0], label="a line")
        axes.set(xlabel="steps", ylabel="a long label of an axis")
        axes.legend()
        return figure

    save_png(drawn(), tmp_path / "own.png", 120)
    own = Image.open(tmp_path / "own.png")
    assert own.size == (360, 240)
    expected = io.BytesIO()
    drawn().savefig(expected, format="png", dpi=120)
    saved = np.asarray(Image.open(expected).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(own), saved)
    np.testing.assert_array_equal(pixels(drawn(), 120), saved)
    assert len(np.unique(saved.reshape(-1, 3), axis=0)) > 3
