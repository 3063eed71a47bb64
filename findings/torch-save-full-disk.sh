#!/usr/bin/env bash
# torch 2.13.0
#
# Where a file can take no more, torch.save raises a RuntimeError that names a position in an archive and not the reason,
# without errno: what handles OSError does not see a full disk. With an open file the reason is the exception's context,
# with a path it is nowhere. A file's limit of 100,000 bytes stands for the disk here; half of the file remains.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages torch==2.13.0

cat > "$work/try.py" << 'EOF'
import pathlib
import re
import resource
import sys

import torch

path = pathlib.Path(sys.argv[1]) / "weights.pt"


def say(how, save):
    try:
        save()
    except Exception as error:
        text = re.sub(r"\d+", "N", str(error))
        print(f"{how}: {type(error).__name__}, errno {getattr(error, 'errno', None)}, {text.splitlines()[0]}")
        context = error.__context__
        print(f"  in its context: {type(context).__name__}, errno {getattr(context, 'errno', None)}")
    print(f"  the file has {path.stat().st_size} bytes")


def save_to_open_file():
    with path.open("wb") as file:
        torch.save(weights, file)


weights = {"weight": torch.zeros(1_000_000)}
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
say("write_bytes", lambda: path.write_bytes(bytes(4_000_000)))
say("torch.save to a path", lambda: torch.save(weights, path))
say("torch.save to an open file", save_to_open_file)
EOF
expect "errors of a file that takes 100,000 bytes" "$(python "$work/try.py" "$work" 2> /dev/null)" "\
write_bytes: OSError, errno 27, [Errno N] File too large
  in its context: NoneType, errno None
  the file has 100000 bytes
torch.save to a path: RuntimeError, errno None, [enforce fail at inline_container.cc:N] . unexpected pos N vs N
  in its context: RuntimeError, errno None
  the file has 100000 bytes
torch.save to an open file: RuntimeError, errno None, [enforce fail at inline_container.cc:N] . unexpected pos N vs N
  in its context: OSError, errno 27
  the file has 100000 bytes"
