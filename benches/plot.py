#!/usr/bin/env python3
"""Makes plots and the table of benches/README.md from benches/data.tsv."""

import math
import pathlib
import re
from html import escape

HERE = pathlib.Path(__file__).parent
BEGIN, END = "<!-- data -->\n", "<!-- /data -->\n"


def read():
    """What was measured, by bench, and about what."""
    about, benches = {}, {}
    for line in (HERE / "data.tsv").read_text().splitlines():
        if line.startswith("# "):
            key, value = line[2:].split("\t", 1)
            about[key] = value
            continue
        bench, name, *numbers = line.split("\t")
        benches.setdefault(bench, []).append((name, *map(int, numbers)))
    return about, benches


def time(nanos):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanos >= size:
            return f"{nanos / size:.3g} {unit}"
    return f"{nanos} ns"


def table(about, benches):
    yield ", ".join(f"{key}: {value}" for key, value in about.items()) + ".\n"
    for bench, floor in (("kernel", "floor"), ("packets", "one rule each")):
        if bench not in benches:
            continue
        yield f"\n| {bench} | tapwire | p99 | {floor} | p99 | ratio | rounds |\n|---|--:|--:|--:|--:|--:|--:|\n"
        for name, ours, p99, least, least_p99, rounds in benches[bench]:
            times = " | ".join(map(time, (ours, p99, least, least_p99)))
            yield f"| {name} | {times} | {ours / least:.2f} | {rounds} |\n"
    if "rivals" in benches:
        yield "\n| one more, 10 000 present | median | / tapwire | rounds |\n|---|--:|--:|--:|\n"
        ours = benches["rivals"][0][1]
        for name, median, *_, rounds in benches["rivals"]:
            yield f"| {name} | {time(median)} | {median / ours:,.2f} | {rounds} |\n"
    if "footprint" in benches:
        yield "\n| footprint | allocations | peak bytes |\n|---|--:|--:|\n"
        for name, count, peak, *_ in benches["footprint"]:
            yield f"| {name} | {count:,} | {peak:,} |\n"
    if "build" in benches:
        yield "\n| build | |\n|---|--:|\n"
        for name, number, *_ in benches["build"]:
            if name.endswith(", ns"):
                yield f"| {name[:-4]} | {time(number)} |\n"
            else:
                yield f"| {name} | {number:,} |\n"


def bars(path, title, rows, reference=None):
    """Horizontal bars on a logarithmic scale: (name, nanoseconds)."""
    width, left, line = 760, 330, 22
    low = math.floor(math.log10(min(value for _, value in rows)))
    high = math.ceil(math.log10(max(value for _, value in rows)))
    scale = (width - left - 90) / max(1, high - low)
    height = 56 + line * len(rows)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="10" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for power in range(low, high + 1):
        x = left + (power - low) * scale
        out.append(f'<line x1="{x:.0f}" y1="34" x2="{x:.0f}" y2="{height - 20}" stroke="#ddd"/>')
        out.append(f'<text x="{x:.0f}" y="{height - 6}" text-anchor="middle" fill="#666">{time(10**power)}</text>')
    for place, (name, value) in enumerate(rows):
        y = 36 + line * place
        length = max(2, (math.log10(value) - low) * scale)
        color = "#1f6fb4" if reference and reference in name else "#9db8cf"
        out.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        out.append(f'<rect x="{left}" y="{y + 2}" width="{length:.0f}" height="{line - 6}" fill="{color}"/>')
        out.append(f'<text x="{left + length + 5:.0f}" y="{y + 14}">{time(value)}</text>')
    out.append("</svg>\n")
    path.write_text("\n".join(out))


def main():
    about, benches = read()
    plots = []
    if "rivals" in benches:
        rows = [(name, median) for name, median, *_ in benches["rivals"]]
        bars(HERE / "rivals.svg", "One more with 10 000 present (logarithmic)", rows, "tapwire")
        plots.append("rivals")
    for bench, other in (("kernel", "floor"), ("packets", "one rule each")):
        if bench in benches:
            rows = []
            for name, ours, _, least, *_ in benches[bench]:
                rows += [(f"{name}: tapwire", ours), (f"{name}: {other}", least)]
            bars(HERE / f"{bench}.svg", f"{bench}: medians (logarithmic)", rows, ": tapwire")
            plots.append(bench)
    text = "".join(table(about, benches))
    text += "\n" + "".join(f"![{plot}]({plot}.svg)\n" for plot in plots)
    readme = HERE / "README.md"
    old = readme.read_text()
    pattern = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.S)
    readme.write_text(pattern.sub(lambda _: BEGIN + text + END, old))


main()
