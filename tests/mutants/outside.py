"""Mutants of what faces the exchange and runs beside it: questions, gaps, attribution, the wire."""

from __future__ import annotations

from mutants.mutant import Mutant

_INQUIRY = "dita/runtime/queries/order_query.py"
_WATCHING = "dita/runtime/queries/polling.py"
_INCOME = "dita/runtime/queries/income.py"
_SERVICE = "dita/runtime/service.py"
_GAPS = "dita/runtime/gaps.py"
_QUESTIONS = "dita/runtime/queries/questions.py"
_LOOP = "dita/runtime/loop.py"
_ATTRIBUTION = "dita/venues/attribution.py"
_EVIDENCE = "dita/venues/evidence.py"

_RECONCILE = "dita/runtime/operations/reconcile.py"

_WATCH = ("runtime/test_watching.py",)
_BORDER = ("venues/test_bingx_border.py",)

QUESTIONS = (
    Mutant(
        name="a failed question about positions is flat",
        path=_INQUIRY,
        old='            reports = await self.questions.once("positions", self._whole_positions)\n'
        "        except BaseException:\n",
        new='            reports = await self.questions.once("positions", self._whole_positions)\n'
        "        except QueryFailed:\n            reports = ()\n        except BaseException:\n",
        tests=_WATCH,
    ),
    Mutant(
        name="a position that cannot be read is flat",
        path=_INQUIRY,
        old="            if not row.asset:\n                raise QueryFailed(",
        new="            if False:\n                raise QueryFailed(",
        tests=("runtime/test_questions.py",),
    ),
    Mutant(
        name="positions are not asked regularly",
        path=_SERVICE,
        old='            ("positions", self._positions),\n',
        new="",
        tests=_WATCH,
    ),
    Mutant(
        name="an open order that is not listed is not asked about",
        path=_WATCHING,
        old="                self.order_query.want_order(order.order_no)\n",
        new="                pass\n",
        tests=_WATCH,
    ),
    Mutant(
        name="nothing is asked after a gap",
        path=_GAPS,
        old="        await self.readiness.gap(because)\n        self._unhealed.set()\n",
        new="        await self.readiness.gap(because)\n",
        tests=(*_WATCH, "runtime/test_readiness.py"),
    ),
    Mutant(
        name="orders are not asked about after a gap",
        path="dita/runtime/recovery.py",
        old="        await asyncio.gather(*(self.order_query.order(order.order_no)"
        " for order in orders))\n",
        new="",
        tests=(*_WATCH, "runtime/test_readiness.py", "runtime/test_runtime.py"),
    ),
    Mutant(
        name="positions are not asked about after a gap",
        path="dita/runtime/recovery.py",
        old="        await self.order_query.positions()\n",
        new="",
        tests=(*_WATCH, "runtime/test_readiness.py"),
    ),
    Mutant(
        name="an order is final before the fill history covers it",
        path=_INQUIRY,
        old="        if not fills_cover(report, fills):\n            return False"
        "  # the fill history lags behind the order\n",
        new="",
        tests=_WATCH,
    ),
    Mutant(
        name="fees are not checked at a start",
        path=_SERVICE,
        old="        await self.check_fees()\n        self.runtime.spawn(self._income()",
        new="        self.runtime.spawn(self._income()",
        tests=_WATCH,
    ),
    Mutant(
        name="income windows do not overlap",
        path=_INCOME,
        old="ledger.income_read_ms - OVERLAP_MS)",
        new="ledger.income_read_ms)",
        tests=_WATCH,
    ),
    Mutant(
        name="a stranger who was not taken is never told of again",
        path=_WATCHING,
        old="            again = told.facts != facts or now_ms - told.at_ms >= TELL_AGAIN_MS\n"
        "            if told.was_taken or not again:\n                return False\n",
        new="            return False\n",
        tests=_WATCH,
    ),
    Mutant(
        name="an answer asks for itself",
        path=_INQUIRY,
        old="        if not isinstance(record, VenueEvent)"
        " or record.kind is not KernelEventKind.POSITION:\n"
        "            self._want_position(asked.effect.asset)"
        "  # an answer never asks itself again\n",
        new="        self._want_position(asked.effect.asset)\n",
        tests=("runtime/test_questions.py",),
    ),
    Mutant(
        name="questions that nobody waits for have no pause",
        path=_QUESTIONS,
        old="        while not self._waiters and (left_s := end_s"
        " - asyncio.get_running_loop().time()) > 0:\n",
        new="        while not self._waiters and (left_s := 0.0) > 0:\n",
        tests=("runtime/test_questions.py",),
    ),
    Mutant(
        name="an operator's question waits for the pause",
        path=_QUESTIONS,
        old="        while not self._waiters and (left_s := end_s",
        new="        while (left_s := end_s",
        tests=("runtime/test_questions.py",),
    ),
    Mutant(
        name="every answer is journalled",
        path=_INQUIRY,
        old="            or not self.answers.says_nothing_new(event)\n",
        new="            or True\n",
        tests=("runtime/test_questions.py",),
    ),
    Mutant(
        name="a question that fails is told to nobody",
        path=_QUESTIONS,
        old='            self._runtime.alarms.begin(f"question: {name}", text)\n',
        new="            pass\n",
        tests=("runtime/test_questions.py",),
    ),
    Mutant(
        name="refused access is asked with again and again",
        path=_QUESTIONS,
        old="        if self.access.refused_since_ms:\n"
        '            raise QueryFailed(f"not asked: {name}", found=self.access.words)\n',
        new="",
        tests=("runtime/test_questions.py",),
    ),
    Mutant(
        name="keys are not read again",
        path=_GAPS,
        old="                await venue.renew_access()\n",
        new="",
        tests=("runtime/test_questions.py", "venues/test_bingx_border.py"),
    ),
    Mutant(
        name="a failure in the background is swallowed",
        path=_LOOP,
        old="        error = task.exception()\n        if error is not None:\n"
        "            self.fail(error, task.get_name())\n",
        new="        task.exception()\n",
        tests=(*_WATCH, "runtime/test_runtime.py"),
    ),
    Mutant(
        name="an entry that became durable too late is sent",
        path="dita/runtime/orders.py",
        old="            if late_ms:\n",
        new="            if False:\n",
        tests=("runtime/test_loop.py",),
    ),
)

OTHERS = (
    Mutant(
        name="a refusal is believed whatever the fills show",
        path=_INCOME,
        old="            if order is not None and order.filled_e8 < quantity_e8:\n",
        new="            if False:\n",
        tests=_WATCH,
    ),
    Mutant(
        name="an order that is over here may go on working there",
        path=_WATCHING,
        old="                await self._take_back(report)\n",
        new="                pass\n",
        tests=_WATCH,
    ),
    Mutant(
        name="a write-off reads no history",
        path=_RECONCILE,
        old="            await self._in_time(poller.read_whole_history(slot))\n",
        new="            pass\n",
        tests=("runtime/test_write_off.py",),
    ),
    Mutant(
        name="a write-off is done for somebody who has gone",
        path=_RECONCILE,
        old="                carried_realized=amount,\n                reason=why,\n"
        "                deadline_ms=self.deadline_ms,\n",
        new="                carried_realized=amount,\n                reason=why,\n",
        tests=("runtime/test_write_off.py",),
    ),
    Mutant(
        name="a write-off books rows of another time",
        path=_RECONCILE,
        old="            and since_ms < row.time_ms <= proven_ms\n",
        new="",
        tests=("runtime/test_write_off.py",),
    ),
    Mutant(
        name="a question goes back further than the exchange keeps",
        path=_WATCHING,
        old="default=since_ms)",
        new="default=1)",
        tests=_WATCH,
    ),
    Mutant(
        name="an order that is known by its client id is a stranger's",
        path=_ATTRIBUTION,
        old="    return fill.venue_order_id in books.own_orders"
        " or is_own_client_id(fill.client_order_id)\n",
        new="    return fill.venue_order_id in books.own_orders\n",
        tests=("runtime/test_attribution.py",),
    ),
    Mutant(
        name="a row in doubt is a stranger's",
        path=_ATTRIBUTION,
        old="            elif symbol in books.in_doubt:\n                undecided.append(row)\n"
        "            else:\n",
        new="            else:\n",
        tests=("runtime/test_watching.py", "runtime/test_attribution.py"),
    ),
    Mutant(
        name="an order with the id of a kernel is somebody's hand",
        path=_EVIDENCE,
        old="    if not report.filled_e8 or is_own_client_id(report.client_order_id):\n",
        new="    if not report.filled_e8:\n",
        tests=("runtime/test_evidence.py",),
    ),
    Mutant(
        name="a position that is not reported is flat although a row could not be read",
        path=_EVIDENCE,
        old="        if any(row.may_concern(asset) for row in odd):\n            flat = []\n"
        "        elif hedge:\n",
        new="        if hedge:\n",
        tests=(
            "venues/test_bingx_rows.py",
            "runtime/test_questions.py",
            "runtime/test_evidence.py",
        ),
    ),
    Mutant(
        name="the position's side is lost on the way",
        path=_EVIDENCE,
        old="        source=EvidenceSource.ORDER_QUERY,\n"
        "        position_side=report.position_side,\n    )\n\n\n# -- positions",
        new="        source=EvidenceSource.ORDER_QUERY,\n    )\n\n\n# -- positions",
        tests=("runtime/test_evidence.py",),
    ),
)

WIRE = (
    Mutant(
        name="certificates are not verified",
        path="dita/venues/bingx/tls.py",
        old="    context.minimum_version = ssl.TLSVersion.TLSv1_2\n",
        new="    context.minimum_version = ssl.TLSVersion.TLSv1_2\n"
        "    context.check_hostname = False\n    context.verify_mode = ssl.CERT_NONE\n",
        tests=_BORDER,
    ),
    Mutant(
        name="the host's name is not verified",
        path="dita/venues/bingx/tls.py",
        old="    context.minimum_version = ssl.TLSVersion.TLSv1_2\n",
        new="    context.minimum_version = ssl.TLSVersion.TLSv1_2\n"
        "    context.check_hostname = False\n",
        tests=_BORDER,
    ),
    Mutant(
        name="the stream takes a proxy from the environment",
        path="dita/venues/bingx/stream/socket.py",
        old="        proxy=None,\n",
        new="        proxy=True,\n",
        tests=_BORDER,
    ),
    Mutant(
        name="requests look at the environment",
        path="dita/venues/bingx/rest/http.py",
        old="trust_env=False",
        new="trust_env=True",
        argued="a bare transport of httpx reads no proxy, and with a context of ours no trust"
        " store: the argument only says so",
    ),
    Mutant(
        name="a bomb is unpacked whole",
        path="dita/venues/bingx/rest/http.py",
        old="        body = inflate.decompress(packed, REPLY_BYTES_MAX)\n",
        new="        body = inflate.decompress(packed)\n",
        tests=_BORDER,
    ),
)

OUTSIDE = (*QUESTIONS, *OTHERS, *WIRE)
