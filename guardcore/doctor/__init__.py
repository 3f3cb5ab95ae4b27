"""What is wrong with the installed plugins: small named checks over one plugin host.

A check is a generator of findings over an ``Installation``; ``CHECKS`` holds them all. One of them,
``contract``, builds components and tries them on the contract kit (``guardcore.testing``); no other
costs more than a plugin's import.
"""

from __future__ import annotations

from guardcore.doctor.examination import CHECKS as CHECKS
from guardcore.doctor.examination import Report as Report
from guardcore.doctor.examination import examine as examine
from guardcore.doctor.finding import Finding as Finding
from guardcore.doctor.finding import Installation as Installation
