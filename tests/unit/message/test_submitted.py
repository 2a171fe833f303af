# SPDX-License-Identifier: Apache-2.0
"""What submission does to a header: Date and Message-ID added, Bcc gone, all else untouched."""

from __future__ import annotations

import pytest

from moatmail.message.header import Header
from moatmail.message.submitted import complete

NOW = 1741158365.0
DATE = b"Date: Wed, 5 Mar 2025 07:06:05 +0000\r\n"
ID = b"Message-ID: <unique@mx.example.test>\r\n"


def completed(block: bytes) -> bytes:
    return complete(Header(block), now=NOW, local="unique", domain="mx.example.test")


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        pytest.param(b"From: a@b\r\n\r\n", DATE + ID + b"From: a@b\r\n\r\n", id="both are added"),
        pytest.param(b"date: x\r\nMESSAGE-ID : <y>\r\n\r\n", b"date: x\r\nMESSAGE-ID : <y>\r\n\r\n", id="what is there stays, even damaged"),
        pytest.param(b"Date: x\r\nMessage-ID: \r\n\r\n", ID + b"Date: x\r\n\r\n", id="an empty Message-ID is replaced"),
        pytest.param(
            b"Date: x\r\nBCC: a@b,\r\n\tc@d\r\nMessage-ID: <y>\r\nTo: e@f\r\n g\r\nbcc :\r\n h@i\r\nResent-Bcc: j@k\r\nX-Bcc: kept\r\n\r\n",
            b"Date: x\r\nMessage-ID: <y>\r\nTo: e@f\r\n g\r\nX-Bcc: kept\r\n\r\n",
            id="every Bcc goes with its folded lines",
        ),
        pytest.param(b"Date: x\nBcc: a@b\n c@d\nMessage-ID: <y>\n\n", b"Date: x\nMessage-ID: <y>\n\n", id="with bare line ends too"),
        pytest.param(b"\r\n", DATE + ID + b"\r\n", id="an empty header"),
        pytest.param(b"Date: x\r\nMessage-ID: <y>\r\nBcc: a@b", b"Date: x\r\nMessage-ID: <y>\r\n", id="a Bcc at the very end"),
    ],
)
def test_complete(block: bytes, wanted: bytes) -> None:
    assert completed(block) == wanted
