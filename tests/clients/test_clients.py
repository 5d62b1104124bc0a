#!/usr/bin/env python3
"""Shows that the clients' judges find what they are for: each wrong frame here differs from a right one in one place.

    python3 -m unittest discover -s tests/clients
"""

import asyncio
import copy
import hashlib
import json
import unittest
import unittest.mock

import frames
import ws
from view import Truth, View

NAMES = ("Mira", "Jon", "Bot 3", "Bot 4")
SEED = bytes(range(32))


def player(name, **changes):
    is_bot = name.startswith("Bot")
    return {
        "name": name, "is_bot": is_bot, "avatar_color": None if is_bot else "teal", "hand": [], "hand_size": 7,
        "zero_declares_in_a_row": 0, "declared": 1, "captured_piles": 0, "score": 0, **changes,
    }


def turn_frame():
    """Bot 3 leads with one piece, Bot 4 has followed, Mira (who receives this) has played, Jon is next."""
    hand = ["GENERAL_RED(14)", "SOLDIER_RED(2)", "SOLDIER_RED(2)", "CANNON_BLACK(3)", "HORSE_BLACK(5)", "HORSE_RED(6)", "CHARIOT_RED(8)"]
    masked = {"pieces": [frames.MASK], "piece_count": 1, "play_type": "SINGLE", "play_value": 0, "is_valid": True}
    return {"event": "phase_change", "data": {
        "phase": "turn", "round": 2,
        "players": {name: player(name) for name in NAMES} | {
            "Mira": player("Mira", hand=hand), "Jon": player("Jon", hand_size=8)},
        "phase_data": {
            "current_turn_starter": "Bot 3", "current_player": "Jon", "turn_order": ["Bot 3", "Bot 4", "Mira", "Jon"],
            "required_piece_count": 1, "current_turn_number": 1, "pile_counts": dict.fromkeys(NAMES, 0), "turn_complete": False,
            "turn_plays": {
                "Bot 3": dict(masked), "Bot 4": dict(masked),
                "Mira": {"pieces": ["ADVISOR_RED(12)"], "play_type": "SINGLE", "play_value": 12, "is_valid": True},
            },
        },
    }}


class Frames(unittest.TestCase):
    def setUp(self):
        self.frame = turn_frame()
        self.data = self.frame["data"]
        self.turn = self.data["phase_data"]

    def judge(self, me="Mira", commitment=None):
        return frames.check(json.dumps(self.frame), me, commitment)

    def wrong(self, reason, me="Mira", commitment=None):
        with self.assertRaisesRegex(frames.Violation, reason):
            self.judge(me, commitment)

    def test_the_right_frame(self):
        self.judge()

    def test_another_receiver_may_not_have_this_frame(self):
        self.wrong("hand of another", me="Jon")
        self.wrong("hand of another", me=None)
        self.data["players"]["Mira"]["hand"] = []
        self.wrong("lies face down and shows", me=None)

    def test_required_fields(self):
        def ways(value, path=()):
            for name, inner in value.items() if isinstance(value, dict) else ():
                yield (*path, name)
                yield from ways(inner, (*path, name))

        optional = {"turn_complete", "piece_count", "hand"}
        found = [path for path in ways(self.frame) if path[-1] not in optional]
        self.assertGreater(len(found), 60)
        for path in found:
            frame = copy.deepcopy(self.frame)
            inner = frame
            for step in path[:-1]:
                inner = inner[step]
            del inner[path[-1]]
            with self.subTest(path=path), self.assertRaises(frames.Violation):
                frames.check(json.dumps(frame), "Mira")

    def test_top_level_sequence(self):
        self.frame["sequence"] = 1
        self.wrong("sequence")

    def test_what_is_told_again_names_a_piece_only_where_a_turn_is_won(self):
        played = {"sequence": 7, "type": "played", "at": 1.5, "round": 1, "player": "Jon", "piece_count": 1}
        plays = [{"player": name, "pieces": ["SOLDIER_RED(2)"], "play_type": "SINGLE"} for name in ("Mira", "Jon", "Bot 3", "Bot 4")]
        won = {"sequence": 8, "type": "turn_won", "at": 2, "round": 1, "turn": 1, "starter": "Jon", "winner": "Jon", "piles": 1, "plays": plays}
        told = lambda *events: {"event": "recovery_response", "data": {"events": list(events), "first_sequence": 1, "last_sequence": 8}}
        self.frame = told(played, won)
        self.judge()
        for events, reason in [
            ([played | {"pieces": ["SOLDIER_RED(2)"]}], "fields"),
            ([played | {"player": "SOLDIER_RED(2)"}], "a piece is named"),
            ([won | {"plays": plays[:3]}], "plays of"),
            ([won | {"piles": 2}], "1 pieces where 2"),
            ([won, played], "the numbers are"),
            ([played | {"type": "hand"}], "event of type"),
        ]:
            self.frame = told(*events)
            self.wrong(reason)

    def test_a_play_face_down_shows_itself(self):
        for change in ({"pieces": ["SOLDIER_RED(2)"]}, {"play_value": 1}, {"play_type": "INVALID"}):
            self.frame = turn_frame()
            self.frame["data"]["phase_data"]["turn_plays"]["Bot 4"].update(change)
            self.wrong("lies face down and shows")

    def test_a_piece_in_another_place(self):
        for value in ("GENERAL_RED(14)", "general red", "Bot 4 played ADVISOR-BLACK", "帥"):
            self.data["note"] = {"deep": [value]}
            self.wrong("a piece is named")

    def test_the_secret_too_early(self):
        self.data["note"] = SEED.hex()
        self.judge()
        self.wrong("the server's secret", commitment=hashlib.sha256(SEED).hexdigest())

    def test_the_course_of_a_hand(self):
        view = View("Mira", Truth())
        view.check("phase_change", self.data)
        for change, reason in (
            (lambda hand: hand.reverse(), "not its order|now"), (lambda hand: hand.pop(), "the hand was|lost"),
        ):
            other = copy.deepcopy(self.data)
            own = other["players"]["Mira"]
            change(own["hand"])
            own["hand_size"] = len(own["hand"])
            with self.assertRaisesRegex(frames.Violation, reason):
                view.check("phase_change", other)

    def test_a_play_that_turns_into_another(self):
        view = View("Mira", Truth())
        view.check("phase_change", self.data)
        other = copy.deepcopy(self.data)
        other["phase_data"]["turn_plays"]["Mira"]["pieces"] = ["ADVISOR_BLACK(11)"]
        with self.assertRaisesRegex(frames.Violation, "Mira played"):
            view.check("phase_change", other)


class Socket(unittest.TestCase):
    """The WebSocket client finds a server that breaks the standard."""

    def feed(self, raw):
        async def run():
            socket = ws.WebSocket()
            socket.open = True
            socket.transport = unittest.mock.Mock(is_closing=lambda: False)
            for byte in raw:
                socket.data_received(bytes([byte]))
            return await socket.recv(0.1)

        return asyncio.run(run())

    def test_texts_of_every_length(self):
        for length in (0, 1, 125, 126, 65535, 65536):
            self.assertEqual(self.feed(ws.encode(ws.TEXT, b"x" * length, masked=False)), "x" * length)

    def test_parts(self):
        raw = ws.encode(ws.TEXT, b"ab", final=False, masked=False) + ws.encode(ws.PING, b"", masked=False)
        self.assertEqual(self.feed(raw + ws.encode(ws.CONTINUATION, b"c", masked=False)), "abc")

    def test_faults(self):
        for raw in (
            ws.encode(ws.TEXT, b"x"), ws.encode(ws.TEXT, b"x", masked=False, reserved=4), ws.encode(3, b"", masked=False),
            ws.encode(ws.TEXT, b"\xff", masked=False), ws.encode(ws.PING, b"x" * 126, masked=False),
            ws.encode(ws.CONTINUATION, b"x", masked=False), ws.encode(ws.CLOSE, b"\x03\xed", masked=False),
        ):
            with self.subTest(raw=raw), self.assertRaises(ws.ServerFault):
                self.feed(raw)

    def test_close(self):
        with self.assertRaises(ws.Closed) as caught:
            self.feed(ws.encode(ws.CLOSE, (1013).to_bytes(2, "big") + b"slow", masked=False))
        self.assertEqual((caught.exception.code, caught.exception.reason), (1013, "slow"))

    def test_masking(self):
        raw = ws.encode(ws.TEXT, b"hello")
        self.assertEqual(ws.mask(raw[6:], raw[2:6]), b"hello")


if __name__ == "__main__":
    unittest.main()
