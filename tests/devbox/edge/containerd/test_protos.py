"""The checked-in messages are what their .proto say."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]


def test_generated_modules_match_their_protos(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    script = [str(ROOT / "deploy" / "protos.sh"), str(tmp_path)]
    subprocess.run(script, check=True, env=environment, timeout=60)
    made = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*_pb2.py*")}
    kept = {
        str(path.relative_to(ROOT)): path
        for path in (ROOT / "devbox").rglob("*_pb2.py*")
        if path.suffix in {".py", ".pyi"}
    }
    assert made.keys() == kept.keys()
    assert made
    for name, path in made.items():
        assert path.read_bytes() == kept[name].read_bytes(), f"{name}: run deploy/protos.sh"
