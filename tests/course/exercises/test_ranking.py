"""Exercises of notebook 09: answers that are wrong in the ways that come to mind, and some that are right."""

from __future__ import annotations

import torch

from co3lib.overlap import mask_iou
from co3lib.ranking import mask_nms

WRONG_PREDICTIONS = [
    ("09.1", (160, 160), "border"),
    ("09.1", (96, 44), "erosion"),
    ("09.1", (80, 160), "first is the middle"),
    ("09.1", (100, 100), "side length"),
    ("09.1", (160, 120), "two sides"),
    ("09.1", 160, "2 numbers"),
    ("09.1", (160, float("nan")), "NaN"),
    ("09.2", (1e-5, 2e-5), "area"),
    ("09.2", (1e-5, 1e-5), "quarter of the background"),
    ("09.2", (1e-5, 2.5e-6), "quarter of the background"),
    ("09.2", (4e-5, 4e-5), "as hot as before"),
    ("09.2", (2.5e-6, 4e-5), "as hot as before"),
    ("09.2", (4e-5, 1e-5), "first is for values"),
    ("09.2", (1e-5, float("nan")), "NaN"),
    ("09.2", (1e-5, ""), "2 numbers"),
]


def variant(change):
    """Eq. 7 with its parts changed: change(parts) returns the parts to be used."""

    def score(heat, saliency, masks, edges, beta, gamma):
        parts = {"o": heat, "s": saliency, "r": heat * saliency, "p": masks.to(heat.dtype), "e": edges.to(heat.dtype)}
        parts |= {"outside": 1 - saliency, "beta": beta, "one": 1.0, "gamma": gamma}
        parts |= change(parts)
        inside, along = (torch.einsum("qyx,kyx->qk", parts["r"], parts[key]) for key in ("p", "e"))
        return parts["beta"] * inside + parts["one"] * along - parts["gamma"] * (parts["outside"] * parts["p"]).sum((1, 2))

    return score


WRONG_SCORES = [
    ("09.3", variant(lambda parts: {"r": parts["o"]}), "heat alone"),
    ("09.3", variant(lambda parts: {"gamma": -parts["gamma"]}), "subtracted"),
    ("09.3", variant(lambda parts: {"one": 0}), "contour term"),
    ("09.3", variant(lambda parts: {"gamma": 0}), "background term"),
    ("09.3", variant(lambda parts: {"beta": 1, "one": parts["beta"]}), "not to the contour"),
    ("09.3", variant(lambda parts: {"one": parts["beta"]}), "inside only"),
    ("09.3", variant(lambda parts: {"outside": parts["s"]}), "1 - S"),
    ("09.3", variant(lambda parts: {"r": parts["r"] ** 2}), "off by"),
    ("09.3", lambda *given: variant(lambda parts: {})(*given).T, "(Q, K)"),
]


def suppression(overlap, dropped=lambda share, limit: share > limit, compare="kept", order="best"):
    def suppress(masks, scores, share):
        kept, seen = [], []
        for k in scores.argsort(descending=True).tolist():
            others = kept if compare == "kept" else seen
            if not any(dropped(overlap(masks[k], masks[m]), share) for m in others):
                kept.append(k)
            seen.append(k)
        return sorted(kept) if order == "index" else kept

    return suppress


def smaller(one, other):
    return float((one & other).sum() / min(one.sum(), other.sum()))


WRONG_SUPPRESSIONS = [
    ("09.4", suppression(lambda a, b: float(mask_iou(a[None], b[None]))), "smaller"),
    ("09.4", suppression(lambda a, b: float((a & b).sum() / max(a.sum(), b.sum()))), "smaller"),
    ("09.4", suppression(lambda a, b: float((a & b).sum() / a.sum())), "whichever"),
    ("09.4", suppression(smaller, compare="all"), "dropped"),
    ("09.4", suppression(smaller, lambda share, limit: share >= limit), "Exactly"),
    ("09.4", suppression(smaller, order="index"), "better one first"),
    ("09.4", mask_nms, "smaller"),
    ("09.4", lambda masks, scores, share: list(range(len(masks))), "better one first"),
]


NOT_CAUGHT = [
    ("09.5", 3, "list of photos"),
    ("09.5", "scores", "list of photos"),
    ("09.5", [[], []], "no score"),
    ("09.5", [[1.0, float("nan")], [2.0]], "finite"),
    ("09.5", [[10, 20, 30, 40]], "never runs"),
    ("09.5", [[1], [5, 6, 7, 8, 9, 10]], "single mask"),
    ("09.5", [[2, 1], [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]], "comes first"),
]


def two_things(hot, cold, salient=1.0):
    """Two squares side by side; hot and cold: the heat of the first and of the second, where it lies."""
    first, second = torch.zeros(2, 40, 60, dtype=torch.bool)
    first[10:30, 10:30] = second[10:30, 30:50] = True
    heat = torch.zeros(40, 60)
    heat[hot[0]], heat[cold[0]] = hot[1], cold[1]
    saliency = torch.zeros(40, 60)
    saliency[first | second] = salient
    return heat, saliency, first, second


MIDDLES = (slice(18, 22), slice(18, 22)), (slice(18, 22), slice(38, 42))
RIM = (slice(10, 30), slice(28, 30))  # of the first, where it touches the second
FOOLED = two_things((MIDDLES[0], 9.0), (MIDDLES[1], 1.0))
APART = (*FOOLED[:3], FOOLED[3].roll(3, 1))
NOT_FOOLED = [
    ("09.6", 3, "Four maps"),
    ("09.6", FOOLED[:3], "Four maps"),
    ("09.6", (FOOLED[0][:, :50], *FOOLED[1:]), "one shape"),
    ("09.6", (-FOOLED[0], *FOOLED[1:]), "at least 0"),
    ("09.6", (FOOLED[0], FOOLED[1] * 2, *FOOLED[2:]), "from 0 to 1"),
    ("09.6", (*FOOLED[:2], FOOLED[2], FOOLED[2]), "overlap"),
    ("09.6", APART, "must touch"),
    ("09.6", (FOOLED[0], FOOLED[1], FOOLED[3], FOOLED[2]), "here 10%"),
    ("09.6", two_things((MIDDLES[0], 9.0), (MIDDLES[1], 0.0)), "gains nothing"),
    ("09.6", two_things((RIM, 9.0), (MIDDLES[1], 1.0)), "Where should the heat lie"),
    ("09.6", tuple(part[10:30, 10:50] for part in FOOLED), "larger"),
]


def in_doubles(heat, saliency, *rest):
    """Eq. 7 in float64 whatever it is given."""
    return variant(lambda parts: {})(heat.double(), saliency.double(), *rest)


RIGHT_ANSWERS = [
    *[("09.3", variant(lambda parts: {})), ("09.3", in_doubles), ("09.4", suppression(smaller))],
    ("09.5", [[1, 2], [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]]),
    ("09.6", FOOLED),
]
WRONG_ANSWERS = WRONG_PREDICTIONS + WRONG_SCORES + WRONG_SUPPRESSIONS + NOT_CAUGHT + NOT_FOOLED
