"""Init container of a pod: makes the files and folders of ../CONTRACT.md in the pod's volumes, as root with CAP_CHOWN."""

import os
import sys

DATA = "/longshore/data"
VOLUME = "/longshore/volume"
TOOLS = "/longshore/tools"
FOLDERS = (("workspace", 0o755), ("tmp", 0o1777), ("home", 0o755))


def main(uid):
    # 0711: the other containers have single files of it mounted, and nobody lists it.
    os.chmod(DATA, 0o711)
    for name in ("journal", "input", "artifacts"):
        os.close(os.open("%s/%s" % (DATA, name), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    try:
        os.mkfifo(DATA + "/spec", 0o600)
    except FileExistsError:
        # The kubelet runs an init container again where the first run's end was not seen.
        pass
    for name, mode in FOLDERS:
        path = "%s/%s" % (VOLUME, name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        os.chown(path, uid, uid)


def make_tools():
    """Empty: the courier fills them once the runner's container has them mounted."""
    for name in ("uv", "ca.pem"):
        os.close(os.open("%s/%s" % (TOOLS, name), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o755))
    os.makedirs(TOOLS + "/wheels", exist_ok=True)


main(int(sys.argv[1]))
if sys.argv[2:] == ["tools"]:
    make_tools()
