# SPDX-License-Identifier: Apache-2.0
"""`python -m moatmail.app.cli`: the program, where no script is installed.

Obeys no RFC.
Must never hold anything but the call.
"""

from __future__ import annotations

from moatmail.app.cli.main import main

if __name__ == "__main__":
    main()
