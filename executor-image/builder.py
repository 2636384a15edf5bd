"""Installs an environment with uv, in a sandbox of its own. The server sends it as the sandbox's program, with its order as JSON on
stdin: {"requirements": [lines], "options": [of uv], "hide": [texts that must not be shown]}. What lies in /workspace/environment
afterwards is the environment; what is printed is shown to whoever waits for it."""

import json
import os
import shutil
import subprocess
import sys

UV = "/longshore/uv"
WORKSPACE = "/workspace"
TARGET = WORKSPACE + "/environment"
# On the same file system as the target, so that installing links instead of copying.
CACHE = WORKSPACE + "/.uv-cache"


def main():
    order = json.load(sys.stdin)
    os.makedirs(TARGET)
    lines = WORKSPACE + "/requirements.txt"
    with open(lines, "w", encoding="utf-8") as file:
        file.write("\n".join(order["requirements"]) + "\n")
    command = [UV, "pip", "install", "--target", TARGET, "--python", sys.executable, "--requirement", lines, *order["options"]]
    fixed = {
        "UV_CACHE_DIR": CACHE,
        "UV_LINK_MODE": "hardlink",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "NO_COLOR": "1",
        # The environment is read-only where it is used, so nobody could compile it there; and no clock decides whether it is fresh.
        "UV_COMPILE_BYTECODE": "1",
        "PYC_INVALIDATION_MODE": "UNCHECKED_HASH",
    }
    code = run(command, {**os.environ, **fixed}, order["hide"])
    # Before the collecting: a file with a second name would be counted twice.
    shutil.rmtree(CACHE, ignore_errors=True)
    return code


def run(command, env, hidden):
    process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for line in process.stdout:
        text = line.decode("utf-8", "replace")
        for secret in hidden:
            text = text.replace(secret, "****")
        # uv speaks of a file that only exists in here.
        print(text.replace(WORKSPACE + "/", ""), end="", flush=True)
    return process.wait()


sys.exit(main())
