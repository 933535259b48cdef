#!/usr/bin/env python3
"""Makes the plots and the table of benches/README.md from benches/data.tsv,
and the figures that the README quotes.

    benches/plot.py [FILE]    another file of data
"""

import math
import pathlib
import re
import sys
from html import escape

HERE = pathlib.Path(__file__).resolve().parent
BEGIN, END = "<!-- data -->\n", "<!-- /data -->\n"


def read():
    """What was measured, by bench; about what; and who was absent."""
    about, benches, absent = {}, {}, []
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "data.tsv"
    for line in path.read_text().splitlines():
        if line.startswith("# absent\t"):
            absent.append(line.split("\t", 1)[1])
            continue
        if line.startswith("# "):
            key, value = line[2:].split("\t", 1)
            about[key] = value
            continue
        bench, name, *numbers = line.split("\t")
        benches.setdefault(bench, []).append((name, *map(int, numbers)))
    return about, benches, absent


def time(nanos):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanos >= size:
            return f"{nanos / size:.3g} {unit}"
    return f"{nanos} ns"


def table(about, benches, absent):
    yield ", ".join(f"{key}: {value}" for key, value in about.items()) + ".\n"
    for bench, floor in (("kernel", "floor"), ("packets", "one rule each, or the clone alone")):
        if bench not in benches:
            continue
        yield f"\n| {bench} | tapwire | p99 | {floor} | p99 | ratio | rounds |\n|---|--:|--:|--:|--:|--:|--:|\n"
        for name, ours, p99, least, least_p99, rounds, thousandths in benches[bench]:
            times = " | ".join(map(time, (ours, p99, least, least_p99)))
            yield f"| {name} | {times} | {thousandths / 1000:.2f} | {rounds} |\n"
    for bench, title in (("rivals", "one more, 10 000 present"), ("encoding", "one DNAT rule as a message")):
        if bench not in benches:
            continue
        yield f"\n| {title} | median | / tapwire | rounds |\n|---|--:|--:|--:|\n"
        ours = benches[bench][0][1]
        for name, median, *_, rounds in benches[bench]:
            yield f"| {name} | {time(median)} | {median / ours:,.2f} | {rounds} |\n"
    if absent:
        yield "\nNot measured: " + "; ".join(absent) + ".\n"
    if "codec" in benches:
        yield "\n| codec, CPU time | tapwire | netlink-packet-netfilter | / tapwire |\n|---|--:|--:|--:|\n"
        for name, ours, _, theirs, *_ in benches["codec"]:
            other = f"{time(theirs)} | {theirs / ours:.1f}" if theirs else " | "
            yield f"| {name} | {time(ours)} | {other} |\n"
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


def figures(about, benches):
    """What the README quotes: the medians of some, next to the kernel's and
    others'."""
    yield f"Medians of one run on Linux {about.get('kernel', '?')}, {about.get('machine', '?')}"
    yield f" ({about.get('date', '?')}); all of them in `benches/README.md`.\n"
    rows = []
    kernel = {name: numbers for name, *numbers in benches.get("kernel", [])}
    for name, text in (
        ("add one, 10000 present", "one exposure more, 10 000 present"),
        ("withdraw one, 10000 present", "one less"),
        ("100000 in one batch", "100 000 at once"),
        ("10000 in one batch", "10 000 at once"),
        ("reconcile 10000, nothing to do", "10 000 compared, nothing to do"),
        ("attach a routed guest", "a routed guest more"),
    ):
        if name in kernel:
            ours, _, least, *_ = kernel[name]
            rows.append(f"| {text} | {time(ours)} | {time(least)} |\n")
    if rows:
        yield "\n| | tapwire | the same messages over a bare socket |\n|---|--:|--:|\n"
        yield from rows
    rivals = benches.get("rivals", [])
    if rivals:
        yield "\n| one more with 10 000 present | | / tapwire |\n|---|--:|--:|\n"
        ours = rivals[0][1]
        for name, median, *_ in rivals:
            if "an address" not in name:
                yield f"| {name} | {time(median)} | {median / ours:,.1f} |\n"


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


def put(path, begin, end, text):
    """Replaces what is between two lines of a file."""
    old = path.read_text()
    if begin not in old:
        raise SystemExit(f"{path} has no line {begin!r}")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
    path.write_text(pattern.sub(lambda _: begin + text + end, old))


def main():
    about, benches, absent = read()
    plots = []
    for bench, title in (
        ("rivals", "One more with 10 000 present (logarithmic)"),
        ("encoding", "One DNAT rule as a message (logarithmic)"),
    ):
        if bench in benches:
            rows = [(name, median) for name, median, *_ in benches[bench]]
            bars(HERE / f"{bench}.svg", title, rows, "tapwire")
            plots.append(bench)
    for bench, other in (("kernel", "floor"), ("packets", "one rule each, or the clone alone")):
        if bench in benches:
            rows = []
            for name, ours, _, least, *_ in benches[bench]:
                rows += [(f"{name}: tapwire", ours), (f"{name}: {other}", least)]
            bars(HERE / f"{bench}.svg", f"{bench}: medians (logarithmic)", rows, ": tapwire")
            plots.append(bench)
    text = "".join(table(about, benches, absent))
    text += "\n" + "".join(f"![{plot}]({plot}.svg)\n" for plot in plots)
    put(HERE / "README.md", BEGIN, END, text)
    put(HERE.parent / "README.md", "<!-- figures -->\n", "<!-- /figures -->\n", "".join(figures(about, benches)))


main()
