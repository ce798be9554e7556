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

    def neighbours(cell):
        around = (range(max(c - 1, 0), min(c + 2, size)) for c, size in zip(cell, values.shape, strict=True))
        return (other for other in itertools.product(*around) if other != cell)

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
    return sum(sum(affinity_terms(features[n], features[m], saliency[n, 0], saliency[m, 0], alpha)) for n, m in pairs)


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
                    out[n, channel, row, column] += lifted[0, channel, row, column] * positive[d, c, v, u] * share
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


def distinct_scores(heat, saliency, labels, members, beta=0.8, gamma=1e-5, groups=None, power=1.0, faint=0.05) -> np.ndarray:
    """Eq. 7 times fit to the power of 1.5 times contrast, by loops over pixels; (G, K).

    groups: lists of peaks (None: each peak by itself); power: a number, or one a group.
    """
    mean = {cell: saliency[labels == cell].mean() for cell in np.unique(labels)}
    height, width = labels.shape
    masks = members[:, labels]
    groups = [[q] for q in range(len(heat))] if groups is None else groups
    powers = [power] * len(groups) if isinstance(power, float) else power
    heat = np.array([np.maximum(one, 0) / np.maximum(one, 0).sum() for one in heat.astype(float)])
    per_cell = {(q, cell): heat[q][labels == cell].sum() for q in range(len(heat)) for cell in mean}
    target = np.zeros((len(groups), height, width))
    for g, y, x in np.ndindex(target.shape):
        cell = labels[y, x]
        everyone = sum(per_cell[q, cell] for q in range(len(heat)))
        target[g, y, x] = mean[cell] * sum(per_cell[q, cell] for q in groups[g]) / (everyone or 1)
    for g in range(len(groups)):
        target[g] = (target[g] / max(target[g].max(), faint)) ** powers[g]
    scores = np.zeros((len(groups), len(masks)))
    contrasts = []
    for k, mask in enumerate(masks):
        ring = []
        for y, x in np.argwhere(mask):
            for j, i in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if 0 <= j < height and 0 <= i < width and not mask[j, i]:
                    ring.append(mean[labels[j, i]])
        contrasts.append(saliency[mask].mean() - (np.mean(ring) if ring else 0.0) if mask.any() else 0.0)
        for g, group in enumerate(groups):
            paper = np.mean([rank_scores((heat[q] * saliency)[None], saliency, mask[None], beta, gamma)[0, 0] for q in group])
            common = target[g][mask].sum()
            fit = common / (mask.sum() + target[g].sum() - common)
            scores[g, k] = max(paper, 0) * fit**1.5 * max(contrasts[k], 0)
    usable = np.array([0.00002 <= mask.mean() <= 0.85 for mask in masks])
    clear = usable & (np.array(contrasts) >= faint)
    scores[:, ~(clear if clear.any() else usable)] = -np.inf
    return scores


def hills(land: np.ndarray) -> list[set[tuple[int, int]]]:
    """(h, w) bool: the cells of every piece of land, joined along sides and corners."""
    left, found = set(map(tuple, np.argwhere(land).tolist())), []
    while left:
        hill, edge = set(), {left.pop()}
        while edge:
            hill |= edge
            edge = {(i + di, j + dj) for i, j in edge for di in (-1, 0, 1) for dj in (-1, 0, 1)} & left
            left -= edge
        found.append(hill)
    return found


def peak_joins(saliency: np.ndarray, cells) -> list[tuple[float, list[frozenset[int]], list[float]]]:
    """Where water that sinks lays bare one piece of land with several parts that hold peaks: for every level, falling, its
    height, the parts as sets of peaks, and their highest peaks' heights.

    No two peaks are in one cell. A peak that comes to light at the level itself is a part of its own.
    """
    cells = list(map(tuple, cells))
    joins = []
    for level in sorted(set(saliency.ravel().tolist()), reverse=True):
        above = hills(saliency > level)
        for hill in hills(saliency >= level):
            parts = [part for part in above if part <= hill]
            parts += [{cell} for cell in cells if cell in hill and saliency[cell] == level]
            held = [frozenset(q for q, cell in enumerate(cells) if cell in part) for part in parts]
            held = [one for one in held if one]
            if len(held) > 1:
                joins.append((level, held, [max(saliency[cells[q]] for q in one) for one in held]))
    return joins


def group_peaks(saliency: np.ndarray, cells, shallow: float = 0.3) -> list[tuple[frozenset[int], float]]:
    """Every peak, then every join of two parts with its depth; where more than two parts meet, the highest first."""
    groups = [(frozenset([q]), 1.0) for q in range(len(cells))]
    for level, parts, tops in peak_joins(saliency, cells):
        (_, joined), *others = sorted(zip(tops, parts, strict=True), key=lambda pair: -pair[0])
        for top, part in others:
            joined |= part
            depth = level / max(top, 1e-12)
            if depth >= shallow:
                groups.append((joined, min(depth, 1.0)))
    return groups


def one_each(groups: list[frozenset[int]], scores) -> list[int]:
    """The one set of groups without a common peak in which every other group with a finite score has a peak in common
    with one that scores higher, or as high and comes first: all sets are tried."""
    finite = [g for g in range(len(groups)) if np.isfinite(scores[g])]

    def explains(kept) -> bool:
        apart = all(not groups[a] & groups[b] for a, b in itertools.combinations(kept, 2))
        return apart and all(
            any(groups[g] & groups[k] and (-scores[k], k) < (-scores[g], g) for k in kept) for g in finite if g not in kept
        )

    (kept,) = (kept for count in range(len(finite) + 1) for kept in itertools.combinations(finite, count) if explains(kept))
    return list(kept)


def quantile(values, share: float) -> float:
    """Numpy's: the first of n sorted values is 0, the last 1, linear between."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(np.floor(place))
    return ordered[below] + (place - below) * (ordered[min(below + 1, len(ordered) - 1)] - ordered[below])


def shared_classes(likely: list[np.ndarray]) -> np.ndarray:
    """For every scale (N, classes, h, w) -> (classes,)."""
    photos, classes = likely[0].shape[:2]
    shared = np.zeros(classes)
    for c in range(classes):
        held = [sum(one[n, c].max() for one in likely) / len(likely) for n in range(photos)]
        shared[c] = quantile(held, 0.35)
    return shared / shared.max()


def class_evidence(likely: list[np.ndarray], shared) -> list[np.ndarray]:
    maps = []
    for one in likely:
        photos, classes, height, width = one.shape
        maps.append(np.zeros((photos, height, width)))
        for n, i, j in np.ndindex(photos, height, width):
            maps[-1][n, i, j] = sum(one[n, c, i, j] * shared[c] for c in range(classes))
    return maps


def certainty_by_scale(likely: list[np.ndarray]) -> np.ndarray:
    highest = []
    for one in class_evidence(likely, shared_classes(likely)):
        highest.append(sum(photo.max() for photo in one) / len(one))
    return np.array(highest) / max(highest)


def unit_range(maps: np.ndarray) -> np.ndarray:
    positive = np.maximum(maps, 0)
    return np.minimum(positive / max(quantile(positive.ravel().tolist(), 0.98), 1e-6), 1)


def block_means(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W), whose sides are whole multiples of ``size``."""
    down, across = values.shape[0] // size[0], values.shape[1] // size[1]
    return np.array([[values[i * down : (i + 1) * down, j * across : (j + 1) * across].mean() for j in range(size[1])]
                     for i in range(size[0])])  # fmt: skip


def classifier_prior(features: list[np.ndarray], logits: list[np.ndarray], components: int = 5) -> np.ndarray:
    """For every scale (N, C, h, w) and (N, classes, h, w), the last scale the finest -> (N, h, w). Cells are (place, C)."""
    finest = features[-1].shape[2:]

    def mean_over_scales(per_scale):
        return np.mean([[bilinear(one, finest) for one in unit_range(maps)] for maps in per_scale], axis=0)

    cells = [np.moveaxis(one, 1, -1) for one in features]
    every = np.concatenate([one.reshape(-1, one.shape[-1]) for one in cells])
    mean = every.mean(0)
    likely = [np.exp(one) / np.exp(one).sum(1, keepdims=True) for one in logits]
    evidence = class_evidence(likely, shared_classes(likely) ** 0.5)
    evidence = unit_range(np.mean([[bilinear(one, finest) for one in maps] for maps in evidence], axis=0))
    # Components by the singular values of the cells; each signed so that the photos' borders score less at the first scale.
    _, _, axes = np.linalg.svd(every - mean, full_matrices=False)
    total, weights = 0.0, 0.0
    for axis in axes[:components]:
        first = (cells[0] - mean) @ axis
        rim = np.ones(first.shape[1:], bool)
        rim[1:-1, 1:-1] = False
        inner = -1 if first[:, rim].mean() > first[:, ~rim].mean() else 1
        for end in (inner, -inner):
            shown = mean_over_scales([end * ((one - mean) @ axis) / first.std() for one in cells])
            agreement = max(np.corrcoef(shown.ravel(), evidence.ravel())[0, 1], 0) ** 2
            total, weights = total + agreement * shown, weights + agreement
    component = unit_range(total / weights)
    both = np.sqrt(np.maximum(component, 0.02) * np.maximum(evidence, 0.02))
    target = np.concatenate([np.array([block_means(one, maps.shape[1:3]) for one in both]).ravel() for maps in cells])
    centred = every - mean
    covariance = centred.T @ centred / len(every)
    ridge = 0.01 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    weight = np.linalg.solve(covariance + ridge, centred.T @ (target - target.mean()) / len(every))
    return mean_over_scales([(one - mean) @ weight + target.mean() / 2 for one in cells])


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
