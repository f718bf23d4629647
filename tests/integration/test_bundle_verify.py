"""Verifying bundles: no change goes unnoticed, and signatures name their signer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import scripts
from bundling import REPOSITORY, key_pair, ssh_keygen
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.runtime.errors import EdgepressError
from edgepress.toolkit.errors import BundleError
from edgepress.toolkit.shipping.bundles.archive import NAMESPACE, sign, signature_path
from edgepress.toolkit.shipping.bundles.build import Bundle
from edgepress.toolkit.shipping.bundles.verify import verify


@pytest.mark.slow
@ssh_keygen
def test_every_kind_of_tampering_is_refused(digits_bundle: Bundle) -> None:
    script = REPOSITORY / "benchmarks" / "faults" / "tampered_bundles.py"
    if not script.exists():
        pytest.skip("needs the repository")
    tampering = scripts.script("benchmarks/faults/tampered_bundles.py")
    ways = [way for way in tampering.TAMPERS if "hundred megabytes" not in way]  # its own test, below
    tampering.TAMPERS = {way: tampering.TAMPERS[way] for way in ways}
    outcomes = tampering.check(digits_bundle.path, digits_bundle.path.with_name("key.pub"), 4 * len(ways), 1)
    assert {text for found in outcomes.values() for text in found if not text.startswith("refused")} == set()


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_byte_changed_is_refused(digits_bundle: Bundle, data: st.DataObject) -> None:
    whole = digits_bundle.path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1) | st.integers(len(whole) - 3000, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    copy = digits_bundle.path.with_name("changed.zip")
    copy.write_bytes(changed)
    with pytest.raises(BundleError):
        verify(copy)


def test_verifying_imports_nothing_heavy(digits_bundle: Bundle) -> None:
    code = f"""
import sys
from edgepress.toolkit.shipping.bundles.verify import verify
verify({str(digits_bundle.path)!r})
print(*sorted({{"tensorflow", "keras", "typer", "PIL", "ai_edge_litert", "onnx", "sklearn"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@ssh_keygen
def test_a_signature_names_its_signer_and_nobody_else(digits_bundle: Bundle, tmp_path: Path) -> None:
    public = digits_bundle.path.with_name("key.pub")
    assert verify(digits_bundle.path, key=public).signer == "me@example"
    allowed = tmp_path / "allowed_signers"
    allowed.write_text(f'boss,team namespaces="{NAMESPACE}" {public.read_text()}')
    assert verify(digits_bundle.path, key=allowed).signer == "boss"
    allowed.write_text(f'boss namespaces="git" {public.read_text()}')
    with pytest.raises(BundleError, match=r"not signed with a key in .*(allowed_signers|other\.pub)"):
        verify(digits_bundle.path, key=allowed)
    with pytest.raises(BundleError, match=r"not signed with a key in .*(allowed_signers|other\.pub)"):
        verify(digits_bundle.path, key=key_pair(tmp_path, "other").with_suffix(".pub"))
    with pytest.raises(EdgepressError, match="private key"):
        verify(digits_bundle.path, key=digits_bundle.path.with_name("key"))
    unsigned = shutil.copy(digits_bundle.path, tmp_path / "unsigned.zip")
    with pytest.raises(BundleError, match=r"unsigned\.zip\.sig"):
        verify(unsigned, key=public)


@ssh_keygen
@pytest.mark.parametrize("content", [b"no signature", b"", None])
def test_a_signature_of_something_else_is_refused_without_a_key(
    content: bytes | None, digits_bundle: Bundle, tmp_path: Path
) -> None:
    path = Path(shutil.copy(digits_bundle.path, tmp_path / "app.zip"))
    beside = tmp_path / "app.zip.sig"
    shutil.copy(signature_path(digits_bundle.path), beside)
    assert verify(path).signature == beside
    if content is None:
        (tmp_path / "other").write_bytes(b"other")
        key = key_pair(tmp_path)
        beside.write_bytes(sign(tmp_path / "other", key))
    else:
        beside.write_bytes(content)
    with pytest.raises(BundleError, match=r"app\.zip\.sig is not a signature of .*app\.zip as it is now"):
        verify(path)


@ssh_keygen
def test_the_command_in_the_readme_checks_a_signature_without_edgepress(
    digits_bundle: Bundle, unpacked: Path, tmp_path: Path
) -> None:
    for name in ("app.zip", "app.zip.sig"):
        shutil.copy(digits_bundle.path.with_name(name), tmp_path / name)
    shutil.copy(digits_bundle.path.with_name("key.pub"), tmp_path / "sender.pub")
    readme = (unpacked / "README.md").read_text()
    commands = [line.strip() for line in readme.splitlines() if line.startswith("    ") and "allowed_signers" in line]
    assert len(commands) == 2
    done = subprocess.run(["sh", "-ec", "\n".join(commands)], cwd=tmp_path, capture_output=True, text=True)
    assert 'Good "edgepress-bundle" signature for sender' in done.stdout
    with (tmp_path / "app.zip").open("r+b") as file:
        file.seek(1000)
        file.write(b"x")
    assert subprocess.run(["sh", "-ec", commands[1]], cwd=tmp_path, capture_output=True).returncode != 0
