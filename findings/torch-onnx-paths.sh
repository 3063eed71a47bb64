#!/usr/bin/env bash
# torch 2.13.0, onnx 1.23.2, onnxscript 0.7.2
#
# torch.onnx.export writes, with each operation, the stack of Python calls that made it: the file holds the paths of the
# exporting machine's sources, and lines of them. Of a small model that is more than the graph itself; what is public
# with the model is public with the paths.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2

cat > "$work/try.py" << 'EOF'
import pathlib
import sys

import onnx
import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 8)

    def forward(self, x):
        return torch.relu(self.layer(x))  # a remark for nobody else


path = pathlib.Path(sys.argv[1]) / "model.onnx"
torch.onnx.export(Model().eval(), (torch.zeros(1, 8),), path, dynamo=True, verbose=False)
data = path.read_bytes()
print("the path of the source:", str(pathlib.Path(__file__)).encode() in data)
print("its comments:", b"a remark for nobody else" in data)
graph = onnx.load(path, load_external_data=False)
for node in graph.graph.node:
    del node.metadata_props[:]
print("without metadata, a path:", str(pathlib.Path(__file__)).encode() in graph.SerializeToString())
EOF
expect "what the file holds" "$(python "$work/try.py" "$work" 2> "$work/errors" | grep :)" "\
the path of the source: True
its comments: True
without metadata, a path: False"
