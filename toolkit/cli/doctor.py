"""The command `doctor`."""

from __future__ import annotations

from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import Json


def doctor(json_output: Json = False) -> int:
    """Check this machine: Python, memory, CPU extensions, whether each engine runs, and what is missing."""
    from edgepress.toolkit.machine.host import doctor as work

    facts = work()
    if json_output:
        screen.document(facts)
        return int(not facts["ok"])
    screen.say(f"{facts['cpu']}, {facts['cores']} core(s), {facts['machine']}, {facts['system']}")
    screen.say(
        f"Python {facts['python']} ({facts['bits']} bits), numpy {facts['packages']['numpy']}, "
        f"{facts['available_bytes'] / 1e9:.1f} of {facts['memory_bytes'] / 1e9:.1f} GB of memory available, "
        f"{facts['temporary_bytes'] / 1e9:.1f} GB free for temporary files"
    )
    rows = [[e["name"], e["version"] or "", e["status"], e["detail"] or e["install"]] for e in facts["engines"]]
    columns = [("Engine", "left"), ("Version", "left"), ("Status", "left"), ("", "left")]
    screen.show(screen.table(columns, rows))
    rows = [[e["name"], "yes" if e["present"] else "no", e["meaning"]] for e in facts["extensions"]]
    if rows:
        screen.show(screen.table([("CPU extension", "left"), ("Present", "left"), ("Meaning", "left")], rows))
    missing = [p for p in facts["toolkit"] if p["version"] is None]
    for package in missing:
        screen.say(f"Missing for the toolkit: {package['package']}", style="red")
    if missing:
        screen.say(f"Install with: {missing[0]['install']}")
    screen.say(facts["advice"])
    return int(not facts["ok"])
