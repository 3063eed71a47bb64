#!/usr/bin/env bash
# transformers 5.23.0
#
# In config.json a rope_scaling that is not empty takes the place of rope_parameters as a whole. One that scales nothing,
# {"type": "default"}, beside rope_parameters with a rope_theta of 75 loads with a rope_theta of 10000, silently. Beside
# the older form, a rope_theta of its own in config.json, it loses nothing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
packages transformers==5.23.0

cat > "$work/try.py" << 'EOF'
import json
import pathlib
import sys

import transformers

folder = pathlib.Path(sys.argv[1])
older, newer = {"rope_theta": 75}, {"rope_parameters": {"rope_theta": 75, "rope_type": "default"}}
scaling = {"rope_scaling": {"type": "default"}}
for name, keys in {
    "rope_theta": older,
    "rope_theta, rope_scaling": older | scaling,
    "rope_parameters": newer,
    "rope_parameters, rope_scaling": newer | scaling,
}.items():
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **keys}))
    print(f"{name}: {transformers.AutoConfig.from_pretrained(folder).rope_parameters['rope_theta']}")
EOF
expect "rope_theta of config.json with a base of 75" "$(python "$work/try.py" "$work" 2> "$work/errors")" "\
rope_theta: 75
rope_theta, rope_scaling: 75
rope_parameters: 75
rope_parameters, rope_scaling: 10000.0"
expect "lines about it on standard error" "$(grep -ci rope "$work/errors" || true)" "0"
