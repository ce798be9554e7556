"""The paper's equations written a second time: plain numpy, plain loops, no cleverness.

Slow on purpose. The tests compare the library with these, so nothing here calls the library or shares code
with it. Letters: N or B images, C channels, H W image, h w (or s t) feature grid, K proposals, Q peaks.
"""

from __future__ import annotations

import itertools

import numpy as np


def normalize_features(features: np.ndarray, eps: float = 1e-2) -> np.ndarray:
    """(B, C, h, w): every cell's vector over the root of its squared length plus ``eps``."""
    out = np.zeros(features.shape)
    images, _, rows, columns = features.shape
    for n, i, j in itertools.product(range(images), range(rows), range(columns)):
        vector = features[n, :, i, j].astype(float)
        out[n, :, i, j] = vector / np.sqrt(sum(value * value for value in vector) + eps)
    return out


def correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(B, C, h, w), (B, C, s, t) -> (B, h, w, s, t): all inner products of a cell of each."""
    images, _, h, w = first.shape
    s, t = second.shape[2:]
    out = np.zeros((images, h, w, s, t))
    for n, i, j, k, m in itertools.product(*map(range, out.shape)):
        out[n, i, j, k, m] = sum(a * b for a, b in zip(first[n, :, i, j], second[n, :, k, m], strict=True))
    return out


def regional_maxima(values: np.ndarray) -> np.ndarray:
    """Any number of axes: plateaus (all 3^d - 1 neighbours connect) that no cell around them exceeds."""
    steps = [step for step in itertools.product((-1, 0, 1), repeat=values.ndim) if any(step)]

    def neighbours(cell):
        for step in steps:
            other = tuple(c + d for c, d in zip(cell, step, strict=True))
            if all(0 <= o < size for o, size in zip(other, values.shape, strict=True)):
                yield other

    out = np.zeros(values.shape, dtype=bool)
    seen = np.zeros(values.shape, dtype=bool)
    for start in np.ndindex(values.shape):
        if seen[start]:
            continue
        seen[start] = True
        plateau, stack, highest = [], [start], True
        while stack:
            cell = stack.pop()
            plateau.append(cell)
            for other in neighbours(cell):
                if values[other] > values[cell]:
                    highest = False
                elif values[other] == values[cell] and not seen[other]:
                    seen[other] = True
                    stack.append(other)
        for cell in plateau:
            out[cell] = highest
    return out


def peaks(values: np.ndarray) -> np.ndarray:
    """Regional maxima of each image or pair (first axis) that reach its median.

    The median of an even number of values lies halfway between the middle two.
    """
    out = np.zeros(values.shape, dtype=bool)
    for n, one in enumerate(values):
        ordered = sorted(one.ravel().tolist())
        count = len(ordered)
        median = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
        out[n] = regional_maxima(one) & (one >= median)
    return out


def score_peaks(score: np.ndarray) -> np.ndarray:
    """(B, 1, h, w) -> bool; two axes of neighbours, so that the channel is no axis of the grid."""
    return peaks(score[:, 0])[:, None]


def saliency_weight(prior: np.ndarray) -> np.ndarray:
    """(B, 1, H, W): the share of the other kind of pixel, positive meaning above the image's mean."""
    out = np.zeros(prior.shape)
    for n, one in enumerate(prior):
        positive = one > one.mean()
        out[n] = np.where(positive, np.mean(~positive), np.mean(positive))
    return out


def saliency_loss(saliency: np.ndarray, prior: np.ndarray) -> float:
    weight = saliency_weight(prior)
    total = 0.0
    for n, _, y, x in np.ndindex(saliency.shape):
        total += weight[n, 0, y, x] * (saliency[n, 0, y, x] - prior[n, 0, y, x]) ** 2
    return total / (saliency.shape[2] * saliency.shape[3])


def copeak_mean(correlation: np.ndarray) -> np.ndarray:
    """(B, h, w, s, t) -> (B,): mean of the correlation over its co-peaks."""
    mask = peaks(correlation)
    return np.array([one[where].mean() for one, where in zip(correlation, mask, strict=True)])


def copeak_loss(correlation: np.ndarray, form: str = "released") -> float:
    """Mean over the pairs."""
    means = copeak_mean(correlation)
    losses = np.log(1 + np.exp(-means)) if form == "released" else -np.log(means)
    return float(losses.mean())


def affinity_terms(features_a, features_b, saliency_a, saliency_b, alpha: float = 4.0) -> list[float]:
    """Eq. 4's summand for every cell p of (C, h, w) ``features_a`` and every cell q of ``features_b``."""
    terms = []
    for i, j in np.ndindex(features_a.shape[1:]):
        for k, m in np.ndindex(features_b.shape[1:]):
            alike = float(features_a[:, i, j] @ features_b[:, k, m])
            p, q = saliency_a[i, j], saliency_b[k, m]
            terms.append(p * q * (1 - alike) + alpha * (p - q) ** 2 * alike)
    return terms


def affinity_loss_released(features: np.ndarray, saliency: np.ndarray, alpha: float = 4.0) -> float:
    """Mean over all cells of the batch with all cells of the batch."""
    terms = []
    for n, m in itertools.product(range(len(features)), repeat=2):
        terms += affinity_terms(features[n], features[m], saliency[n, 0], saliency[m, 0], alpha)
    return float(np.mean(terms))


def affinity_loss_published(features: np.ndarray, saliency: np.ndarray, alpha: float = 4.0) -> float:
    """Eq. 5 for one pair (B = 2): Eq. 4 of (n, m), (n, n) and (m, m), summed."""
    pairs = [(0, 1), (0, 0), (1, 1)]
    return sum(
        sum(affinity_terms(features[n], features[m], saliency[n, 0], saliency[m, 0], alpha)) for n, m in pairs
    )


def conv2d(values, weight, stride=1, padding=0, dilation=1, groups=1) -> np.ndarray:
    """(B, C, H, W), (D, C / groups, kh, kw) -> (B, D, H', W'), without bias."""
    images, _, height, width = values.shape
    outputs, per_group, kh, kw = weight.shape
    rows = (height + 2 * padding - dilation * (kh - 1) - 1) // stride + 1
    columns = (width + 2 * padding - dilation * (kw - 1) - 1) // stride + 1
    out = np.zeros((images, outputs, rows, columns))
    for (n, d, y, x), (c, v, u) in itertools.product(np.ndindex(out.shape), np.ndindex(per_group, kh, kw)):
        channel = d // (outputs // groups) * per_group + c
        row, column = y * stride - padding + v * dilation, x * stride - padding + u * dilation
        if 0 <= row < height and 0 <= column < width:
            out[n, d, y, x] += values[n, channel, row, column] * weight[d, c, v, u]
    return out


def peak_rule(values, weight, grad, stride=1, padding=0, dilation=1, groups=1) -> np.ndarray:
    """The PRM rule of one convolution: gradient at the output -> "gradient" at the input, image by image.

    Each output shares its gradient among the inputs it saw in proportion to (input - minimum) * relu(weight).
    """
    out = np.zeros(values.shape)
    outputs, per_group, kh, kw = weight.shape
    height, width = values.shape[2:]
    for n in range(len(values)):
        lifted = values[n : n + 1] - values[n].min()
        positive = np.maximum(weight, 0)
        total = conv2d(lifted, positive, stride, padding, dilation, groups)[0]
        for d, y, x in np.ndindex(total.shape):
            if total[d, y, x] < 1e-10:
                continue
            share = grad[n, d, y, x] / (abs(total[d, y, x]) + 1e-10)
            for c, v, u in np.ndindex(per_group, kh, kw):
                channel = d // (outputs // groups) * per_group + c
                row, column = y * stride - padding + v * dilation, x * stride - padding + u * dilation
                if 0 <= row < height and 0 <= column < width:
                    out[n, channel, row, column] += (
                        lifted[0, channel, row, column] * positive[d, c, v, u] * share
                    )
    return out


def bilinear_kernel(size: int) -> np.ndarray:
    """(size, size): the outer product of a tent that is 1 at its middle and 0 half a cell beyond its ends."""
    tent = np.array([1 - abs(i - (size - 1) / 2) / (size / 2) for i in range(size)])
    return np.outer(tent, tent)


def bilinear_upsample(values: np.ndarray, factor: int) -> np.ndarray:
    """(h, w) -> (h * factor, w * factor): transposed convolution with ``bilinear_kernel(2 * factor)``.

    Every cell adds its kernel at ``factor`` times its place; half a factor is cropped at every side. Beyond
    the border there is nothing, so the rim of the result fades where interpolation would repeat the border.
    """
    kernel = bilinear_kernel(2 * factor)
    h, w = values.shape
    out = np.zeros(((h + 1) * factor, (w + 1) * factor))
    for i, j in np.ndindex(values.shape):
        rows, columns = slice(i * factor, (i + 2) * factor), slice(j * factor, (j + 2) * factor)
        out[rows, columns] += values[i, j] * kernel
    crop = factor // 2
    return out[crop : crop + h * factor, crop : crop + w * factor]


def bicubic_kernel(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def imresize(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """MATLAB's bicubic ``imresize`` of (H, W), one axis after the other.

    A shrunk axis widens the kernel by as much. Outside the image lies its mirror image, the border itself repeated.
    """
    for axis in (0, 1):
        lines = np.moveaxis(values, axis, 0)
        old, new = len(lines), size[axis]
        wide = max(1.0, old / new)
        out = np.zeros((new, *lines.shape[1:]))
        for k in range(new):
            centre, total = (k + 0.5) * old / new - 0.5, 0.0
            for source in range(int(np.floor(centre - 2 * wide)), int(np.ceil(centre + 2 * wide)) + 1):
                weight = bicubic_kernel((source - centre) / wide)
                place = source % (2 * old)
                out[k] += weight * lines[place if place < old else 2 * old - 1 - place]
                total += weight
            out[k] /= total
        values = np.moveaxis(out, 0, axis)
    return values


def bilinear(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) at other pixels' middles, between the two nearest of each axis; the border goes on outside."""
    for axis in (0, 1):
        lines = np.moveaxis(values, axis, 0)
        old, new = len(lines), size[axis]
        places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        out = [lines[int(p)] + (p - int(p)) * (lines[min(int(p) + 1, old - 1)] - lines[int(p)]) for p in places]
        values = np.moveaxis(np.array(out), 0, axis)
    return values


def nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = (np.floor((np.arange(n) + 0.5) * o / n).astype(int) for n, o in zip(size, values.shape, strict=True))
    return values[rows][:, columns]


def max_pool(values: np.ndarray) -> np.ndarray:
    """(C, H, W), H and W even: the largest of every 2 x 2."""
    return np.array([[[one[y : y + 2, x : x + 2].max() for x in range(0, one.shape[1], 2)]
                      for y in range(0, one.shape[0], 2)] for one in values])  # fmt: skip


def max_pool_back(values: np.ndarray, grad: np.ndarray) -> np.ndarray:
    """The gradient of ``max_pool``: all of it to the (first) largest."""
    out = np.zeros(values.shape)
    for c, y, x in np.ndindex(grad.shape):
        window = values[c, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        j, i = np.unravel_index(window.argmax(), (2, 2))
        out[c, 2 * y + j, 2 * x + i] = grad[c, y, x]
    return out


def contours(masks: np.ndarray, width: int = 5) -> np.ndarray:
    """(K, H, W) bool: pixels whose window, cut off at the border, holds both kinds of pixel."""
    out = np.zeros(masks.shape, dtype=bool)
    reach = width // 2
    for k, y, x in np.ndindex(masks.shape):
        window = masks[k, max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        out[k, y, x] = window.any() and not window.all()
    return out


def rank_scores(response, saliency, proposals, beta=0.8, gamma=1e-5) -> np.ndarray:
    """Eq. 7: (Q, H, W) products of heat and saliency, (H, W), (K, H, W) -> (Q, K)."""
    edges = contours(proposals)
    out = np.full((len(response), len(proposals)), -np.inf)
    pixels = saliency.size
    for q, k in np.ndindex(out.shape):
        mask = proposals[k]
        if not 0.00002 <= mask.sum() / pixels <= 0.85:
            continue
        inside, along = response[q][mask].sum(), response[q][edges[k]].sum()
        out[q, k] = beta * inside + along - gamma * (1 - saliency)[mask].sum()
    return out


def distinct_scores(heat, saliency, labels, members, beta=0.8, gamma=1e-5, faint=0.05) -> np.ndarray:
    """Eq. 7 times fit to the power of 1.5 times contrast, by loops over pixels; (Q, K)."""
    mean, count = {}, {}
    for cell in np.unique(labels):
        mean[cell], count[cell] = saliency[labels == cell].mean(), (labels == cell).sum()
    height, width = labels.shape
    masks = members[:, labels]
    shared = np.zeros(heat.shape)
    per_cell = {(q, cell): np.maximum(heat[q], 0)[labels == cell].sum() for q in range(len(heat)) for cell in mean}
    total = [sum(per_cell[q, cell] for cell in mean) for q in range(len(heat))]
    for y in range(height):
        for x in range(width):
            cell = labels[y, x]
            here = [per_cell[q, cell] / total[q] for q in range(len(heat))]
            for q in range(len(heat)):
                shared[q, y, x] = mean[cell] * here[q] / (sum(here) or 1)
    scores = np.zeros((len(heat), len(masks)))
    contrasts = []
    for k, mask in enumerate(masks):
        ring = []
        for y, x in np.argwhere(mask):
            for j, i in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if 0 <= j < height and 0 <= i < width and not mask[j, i]:
                    ring.append(mean[labels[j, i]])
        contrasts.append(saliency[mask].mean() - (np.mean(ring) if ring else 0.0) if mask.any() else 0.0)
        for q in range(len(heat)):
            paper = rank_scores((heat[q] * saliency)[None], saliency, mask[None], beta, gamma)[0, 0]
            common = shared[q][mask].sum()
            fit = common / (mask.sum() + shared[q].sum() - common)
            scores[q, k] = max(paper, 0) * fit**1.5 * max(contrasts[k], 0)
    usable = np.array([0.00002 <= mask.mean() <= 0.85 for mask in masks])
    clear = usable & (np.array(contrasts) >= faint)
    scores[:, ~(clear if clear.any() else usable)] = -np.inf
    return scores


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Two masks; two empty ones have nothing in common."""
    union = np.sum(a | b)
    return float(np.sum(a & b) / union) if union else 0.0


def mask_nms(masks: np.ndarray, scores: np.ndarray, limit: float = 0.4) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if all(iou(masks[index], masks[other]) < limit for other in kept):
            kept.append(index)
    return kept


def percentile(values, percent: float) -> float:
    """MATLAB's ``prctile``: value k of n sorted ones is percentile 100 (k - 0.5) / n, linear between."""
    ordered = sorted(values)
    count = len(ordered)
    place = percent / 100 * count + 0.5
    if place <= 1:
        return ordered[0]
    if place >= count:
        return ordered[-1]
    below = int(np.floor(place))
    return ordered[below - 1] + (place - below) * (ordered[below] - ordered[below - 1])


def noise_filter(scores: list[np.ndarray], percent: float = 20.0) -> list[np.ndarray]:
    everything = [value for one in scores for value in one]
    threshold = percentile(everything, percent) if everything else 0.0
    kept = []
    for one in scores:
        keep = np.array([value >= threshold for value in one], dtype=bool)
        if len(one) and not keep.any():
            keep[max(range(len(one)), key=lambda i: one[i])] = True
        kept.append(keep)
    return kept


def average_precision(predictions, scores, ground_truth, limit: float = 0.5) -> float:
    """Area under the monotone envelope of precision over recall, every point used (VOC from 2010 on)."""
    found: list[tuple[float, bool]] = []
    for masks, values, truth in zip(predictions, scores, ground_truth, strict=True):
        covered: set[int] = set()
        for index in sorted(range(len(values)), key=lambda i: -values[i]):
            best, overlap = None, limit
            for g in range(len(truth)):
                if g not in covered and iou(masks[index], truth[g]) > overlap:
                    best, overlap = g, iou(masks[index], truth[g])
            if best is not None:
                covered.add(best)
            found.append((float(values[index]), best is not None))
    found.sort(key=lambda pair: -pair[0])
    instances = sum(len(truth) for truth in ground_truth)
    hits, points = 0, []
    for rank, (_, hit) in enumerate(found, start=1):
        hits += hit
        points.append((hits / instances, hits / rank))
    area, reached = 0.0, 0.0
    for place, (recall, _) in enumerate(points):
        if recall > reached:
            area += (recall - reached) * max(precision for _, precision in points[place:])
            reached = recall
    return area


def box_iou(a, b) -> float:
    """Boxes x0 y0 x1 y1 with the far ends outside, so that a box is (x1 - x0) wide."""
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / union if union > 0 else 0.0


def corloc(predicted, truth, limit: float = 0.5) -> float:
    hits = [
        box is not None and any(box_iou(box, other) >= limit for other in boxes)
        for box, boxes in zip(predicted, truth, strict=True)
    ]
    return float(np.mean(hits))
