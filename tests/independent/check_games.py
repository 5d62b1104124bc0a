#!/usr/bin/env python3
"""Checks completed games against the rules, independently of the server.

    check_games.py FILE|-  [--jobs N]

Reads completed games, one JSON object a line, in the public form of a record (what `liap simulate --json` and
`liap archive export` write). Every game is dealt again from its deal proof (docs/fair-deals.md) and replayed move by
move. Prints one line for each game that differs, with the first difference found, and at the end

    N games checked, M differ

Exit code: 0 all games are as they must be, 1 at least one differs, 2 nothing to check or wrong usage.

This file knows nothing of the server's code. It was written from the rules of the game alone, in another language, so
that a misreading of a rule would have to be made twice, by two readers, to go unnoticed. Standard library only.
"""

import argparse
import hashlib
import hmac
import json
import math
import multiprocessing
import os
import sys
import threading
from collections import Counter
from datetime import datetime
from functools import lru_cache

# --- The rules -------------------------------------------------------------------------------------------------------

ALGORITHM = "liap-deal-1"
NAMES = ("GENERAL", "ADVISOR", "ELEPHANT", "CHARIOT", "HORSE", "CANNON", "SOLDIER")
COPIES = (1, 2, 2, 2, 2, 2, 5)
RED_POINTS = (14, 12, 10, 8, 6, 4, 2)

POINTS = {}
"""Points of a piece by its name on the wire; black is worth one less than red."""
PIECES = []
"""The 32 pieces by their number, as docs/fair-deals.md numbers them."""
for _color, _less in (("RED", 0), ("BLACK", 1)):
    for _name, _copies, _points in zip(NAMES, COPIES, RED_POINTS):
        POINTS[f"{_name}_{_color}"] = _points - _less
        PIECES += [f"{_name}_{_color}"] * _copies

HIGH = ("GENERAL", "ADVISOR", "ELEPHANT")
LOW = ("CHARIOT", "HORSE", "CANNON")
SEATS = (1, 2, 3, 4)
WINNING_TOTAL = 50


@lru_cache(maxsize=None)
def _classify_sorted(pieces):
    if not pieces or len(pieces) > 6:
        return "INVALID"
    if len(pieces) == 1:
        return "SINGLE"
    names, colors = zip(*(piece.rsplit("_", 1) for piece in pieces))
    if len(set(colors)) != 1:
        return "INVALID"
    if len(set(names)) == 1:
        if len(names) == 2:
            return "PAIR"
        if names[0] == "SOLDIER":
            return {3: "THREE_OF_A_KIND", 4: "FOUR_OF_A_KIND", 5: "FIVE_OF_A_KIND"}.get(len(names), "INVALID")
        return "INVALID"
    count = Counter(names)
    if set(count) not in (set(HIGH), set(LOW)):
        return "INVALID"
    # How often each of the three names occurs decides: 1-1-1, 1-1-2, 1-2-2 or 2-2-2.
    return {
        (1, 1, 1): "STRAIGHT",
        (1, 1, 2): "EXTENDED_STRAIGHT",
        (1, 2, 2): "EXTENDED_STRAIGHT_5",
        (2, 2, 2): "DOUBLE_STRAIGHT",
    }.get(tuple(sorted(count.values())), "INVALID")


def classify(pieces):
    """The type of a play of these pieces, in any order; `INVALID` if they are none."""
    return _classify_sorted(tuple(sorted(pieces)))


def strength(play_type, pieces):
    """Strength of a play among plays of its own type; in the extended straights a duplicate adds nothing."""
    if play_type in ("EXTENDED_STRAIGHT", "EXTENDED_STRAIGHT_5"):
        pieces = set(pieces)
    return sum(POINTS[piece] for piece in pieces)


def compare(leading, challenger):
    """`A` the leading play is stronger, `B` the challenger takes the lead, `=` equal, `x` the types differ."""
    play_type = classify(leading)
    if classify(challenger) != play_type or play_type == "INVALID":
        return "x"
    a, b = strength(play_type, leading), strength(play_type, challenger)
    return "A" if a > b else "B" if b > a else "="


def turn_winner(plays):
    """Index of the play that wins a turn, given the plays in their order, the starter's first."""
    best = 0
    for index in range(1, len(plays)):
        if compare(plays[best], plays[index]) == "B":
            best = index
    return best


def is_weak(hand):
    """Whether no piece of the hand is worth more than nine points."""
    return all(POINTS[piece] <= 9 for piece in hand)


def order_from(seat):
    """The four seats in playing order, `seat` first."""
    return [(seat - 1 + step) % 4 + 1 for step in range(4)]


def redeal_accepter(fixed_starter, accepters):
    """The accepter who starts: the first in the order from the seat fixed to start, from seat 1 if there is none."""
    return next(seat for seat in order_from(fixed_starter or 1) if seat in accepters)


def round_starter(round_number, accepter, general_red, last_turn_winner):
    """Who starts a round and the reason, first matching rule."""
    if accepter is not None:
        return accepter, "accepted_redeal"
    if round_number == 1 and general_red is not None:
        return general_red, "has_general_red"
    if round_number > 1 and last_turn_winner is not None:
        return last_turn_winner, "won_last_turn"
    return 1, "default"


def allowed_declarations(total_so_far, is_fourth, zero_streak):
    """The values a player may declare."""
    values = set(range(9))
    if is_fourth:
        values.discard(8 - total_so_far)
    if zero_streak >= 2:
        values.discard(0)
    return values


def round_score(declared, captured, multiplier):
    """Points of a round for one player."""
    if declared == captured:
        base = declared + 5 if declared > 0 else 3
    else:
        base = -abs(declared - captured)
    return base * multiplier


def game_key(server_seed, entropy):
    """The key of all deals of a game; `entropy` holds four texts or None, by seat."""
    texts = [(text or "").lower() for text in entropy]
    return hmac.digest(server_seed, "\n".join([ALGORITHM, *texts]).encode("ascii"), "sha256")


def deal_numbers(key, number):
    """Deal `number` (from 0) of a game: the numbers of the 32 pieces in dealt order, eight for each seat."""
    block, stream, position = 0, b"", 0
    pieces = list(range(32))
    for i in range(31, 0, -1):
        limit = 256 - 256 % (i + 1)
        while True:
            if position == len(stream):
                stream = hmac.digest(key, number.to_bytes(4, "big") + block.to_bytes(4, "big"), "sha256")
                block, position = block + 1, 0
            byte = stream[position]
            position += 1
            if byte < limit:
                break
        j = byte % (i + 1)
        pieces[i], pieces[j] = pieces[j], pieces[i]
    return pieces


def deal(key, number):
    """Deal `number` (from 0) of a game: four hands of eight piece names, by seat."""
    names = [PIECES[piece] for piece in deal_numbers(key, number)]
    return [names[0:8], names[8:16], names[16:24], names[24:32]]


# --- Holding a record against them -----------------------------------------------------------------------------------


class Differs(Exception):
    """The record is not what the rules make of it; the text says where and how."""


def require(condition, reason):
    if not condition:
        raise Differs(reason)


def expect(found, must, what):
    """`found` must be `must` in value and type (a JSON `true` is no 1, and 1.0 is no 1)."""
    if found != must or type(found) is not type(must):
        raise Differs(f"{what} is {json.dumps(found)}, must be {json.dumps(must)}")


def expect_list(found, must, what):
    require(isinstance(found, list), f"{what} is {json.dumps(found)}, must be {json.dumps(must)}")
    if found != must or any(type(a) is not type(b) for a, b in zip(found, must)):
        raise Differs(f"{what} is {json.dumps(found)}, must be {json.dumps(must)}")


def field(mapping, name, kinds, where):
    """A field that must be there and be of one of these types."""
    require(isinstance(mapping, dict), f"{where}is no object")
    require(name in mapping, f"{where}{name} is missing")
    value = mapping[name]
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    # bool is an int to Python, but not to the record.
    if type(value) not in kinds:
        raise Differs(f"{where}{name} is {json.dumps(value)[:80]}, must be {' or '.join(k.__name__ for k in kinds)}")
    return value


def parse_hex(text, what, minimum, maximum):
    digits = "0123456789abcdefABCDEF"
    require(
        isinstance(text, str) and minimum <= len(text) <= maximum and all(c in digits for c in text),
        f"{what} is {json.dumps(text)[:80]}, must be {minimum} to {maximum} hexadecimal digits",
    )
    return text


def parse_time(text, what):
    require(isinstance(text, str) and text.endswith("Z"), f"{what} is {json.dumps(text)}, must be a time in UTC")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Differs(f"{what} is {json.dumps(text)}, must be a time") from None


class Replay:
    """One game, replayed from its record. What is kept here follows from the rules alone; the record is only asked
    for what the players chose, and every other word of it is held against what the rules say."""

    def __init__(self, record):
        self.record = record
        self.deal_number = 0
        self.totals = {seat: 0 for seat in SEATS}
        self.zero_streak = {seat: 0 for seat in SEATS}
        self.last_turn_winner = None
        self.clock = 0.0
        self.incomplete = False

    def check(self):
        self.check_frame()
        rounds = field(self.record, "rounds", list, "")
        require(rounds or self.abandoned, "rounds is empty")
        for index, round_record in enumerate(rounds):
            require(not self.is_over(), f"round {index + 1} was played after the game was over: {self.totals_list()}")
            require(not self.incomplete, f"round {index + 1} follows a round that was not finished")
            self.check_round(index + 1, round_record)
        self.check_end()

    def totals_list(self):
        return [self.totals[seat] for seat in SEATS]

    def is_over(self):
        return any(total >= WINNING_TOTAL for total in self.totals.values())

    # Everything but the play.

    def check_frame(self):
        record = self.record
        require(isinstance(record, dict), "the line is no object")
        expect(field(record, "format", int, ""), 1, "format")
        expect(field(record, "rules", int, ""), 1, "rules")
        require(field(record, "game_id", str, ""), "game_id is empty")
        require(field(record, "room_id", str, ""), "room_id is empty")
        started = parse_time(field(record, "started_at", str, ""), "started_at")
        completed = parse_time(field(record, "completed_at", str, ""), "completed_at")
        self.seconds = (completed - started).total_seconds()
        require(self.seconds >= 0, "completed_at is before started_at")
        expect(field(record, "duration_seconds", int, ""), math.floor(self.seconds), "duration_seconds")
        ended = field(record, "ended", str, "")
        require(ended in ("won", "abandoned"), f'ended is {json.dumps(ended)}, must be "won" or "abandoned"')
        self.abandoned = ended == "abandoned"

        players = field(record, "players", list, "")
        require(len(players) == 4, f"{len(players)} players, must be 4")
        self.names, self.is_bot = {}, {}
        for seat, player in zip(SEATS, players):
            where = f"player {seat}: "
            expect(field(player, "seat", int, where), seat, where + "seat")
            self.names[seat] = field(player, "name", str, where)
            self.is_bot[seat] = field(player, "is_bot", bool, where)
            require(self.names[seat].strip(), where + "name is blank")
            level = player.get("level")
            if self.is_bot[seat]:
                require(level in ("easy", "normal", "hard"), f"{where}level of a bot is {json.dumps(level)}")
            else:
                require(level is None, f"{where}a human has level {json.dumps(level)}")
        require(len(set(self.names.values())) == 4, "two players share a name")

        proof = field(record, "deal_proof", dict, "")
        expect(field(proof, "algorithm", str, "deal_proof: "), ALGORITHM, "deal_proof: algorithm")
        seed = bytes.fromhex(parse_hex(proof.get("server_seed"), "deal_proof: server_seed", 64, 64))
        expect(proof.get("commitment"), hashlib.sha256(seed).hexdigest(), "deal_proof: commitment")
        entropy = field(proof, "entropy", list, "deal_proof: ")
        require(len(entropy) == 4, "deal_proof: entropy must have 4 entries")
        for text in entropy:
            if text is not None:
                parse_hex(text, "deal_proof: entropy", 1, 64)
        self.key = game_key(seed, entropy)

        last_end = {}
        for takeover in field(record, "takeovers", list, ""):
            where = "takeover: "
            seat = field(takeover, "seat", int, where)
            require(seat in SEATS and not self.is_bot[seat], f"{where}seat {seat} is not a human's")
            begin = self.seconds_at(takeover, "from", where)
            require(begin >= last_end.get(seat, 0), f"{where}seat {seat} is taken over already at {begin}")
            require("to" in takeover, where + "to is missing")
            last_end[seat] = math.inf
            if takeover["to"] is not None:
                last_end[seat] = self.seconds_at(takeover, "to", where)
                require(last_end[seat] >= begin, f"{where}ends at {last_end[seat]}, before it began at {begin}")

    def seconds_at(self, mapping, name, where):
        at = field(mapping, name, (int, float), where)
        # The end of the game is kept in milliseconds, times of moves perhaps in coarser steps.
        require(0 <= at <= self.seconds + 0.01, f"{where}{name} {at} is outside of the game's {self.seconds} s")
        return at

    def tick(self, mapping, where):
        """Moves happen one after another."""
        at = self.seconds_at(mapping, "at", where)
        require(at >= self.clock, f"{where}at {at} is before the move before it, at {self.clock}")
        self.clock = at

    def check_end(self):
        record = self.record
        if self.abandoned:
            require(not self.is_over(), f"the game is abandoned, but with totals {self.totals_list()} it is won")
            expect_list(field(record, "winners", list, ""), [], "winners of an abandoned game")
            expect(record.get("winner_name"), None, "winner_name of an abandoned game")
        else:
            require(self.is_over(), f"the game has ended, but with totals {self.totals_list()} nobody has won")
            best = max(self.totals.values())
            winners = [seat for seat in SEATS if self.totals[seat] == best]
            expect_list(field(record, "winners", list, ""), winners, "winners")
            # A shared win has more than one name; the field has room for one, the first in seat order.
            expect(field(record, "winner_name", str, ""), self.names[winners[0]], "winner_name")
        expect_list(field(record, "final_scores", list, ""), self.totals_list(), "final_scores")

    # The play.

    def check_round(self, number, record):
        where = f"round {number}: "
        expect(field(record, "round", int, where), number, where + "round")
        hands, multiplier, accepter, settled = self.check_deals(number, field(record, "deals", list, where))
        # Only the last round of an abandoned game may break off; what had not yet happened is empty or absent there.
        if not settled:
            self.break_off(where)
            self.check_nothing(record, where, ("declarations", "turns"))
            self.check_captured(record, where, [0, 0, 0, 0])
            self.check_nothing(record, where, ("scores", "totals"))
            return

        expect(field(record, "multiplier", int, where), multiplier, where + "multiplier")
        general_red = next((seat for seat in SEATS if "GENERAL_RED" in hands[seat]), None)
        starter, reason = round_starter(number, accepter, general_red, self.last_turn_winner)
        expect(field(record, "starter", int, where), starter, where + "starter")
        expect(field(record, "starter_reason", str, where), reason, where + "starter_reason")

        declared = self.check_declarations(starter, field(record, "declarations", list, where), where)
        captured = {seat: 0 for seat in SEATS}
        if len(declared) == 4:
            self.check_turns(starter, hands, captured, field(record, "turns", list, where), where)
        else:
            self.break_off(where)
            self.check_nothing(record, where, ("turns",))
        self.check_captured(record, where, [captured[seat] for seat in SEATS])
        if self.incomplete:
            self.check_nothing(record, where, ("scores", "totals"))
            return

        scores = {seat: round_score(declared[seat], captured[seat], multiplier) for seat in SEATS}
        expect_list(field(record, "scores", list, where), [scores[seat] for seat in SEATS], where + "scores")
        for seat in SEATS:
            self.totals[seat] += scores[seat]
            self.zero_streak[seat] = self.zero_streak[seat] + 1 if declared[seat] == 0 else 0
        expect_list(field(record, "totals", list, where), self.totals_list(), where + "totals")

    def break_off(self, where):
        require(self.abandoned, where + "is not finished")
        self.incomplete = True

    def check_nothing(self, record, where, names):
        for name in names:
            require(not record.get(name), f"{where}{name} is {json.dumps(record.get(name))[:80]} before its time")

    def check_captured(self, record, where, must):
        if self.incomplete and not record.get("captured"):
            return
        expect_list(field(record, "captured", list, where), must, where + "captured")

    def check_deals(self, number, deals):
        """Returns the hands played by seat, the multiplier, the last accepter, and whether all is answered."""
        require(deals, f"round {number}: no deal")
        accepter, multiplier = None, 1
        for index, record in enumerate(deals):
            where = f"round {number}, deal {index + 1}: "
            dealt = deal(self.key, self.deal_number)
            self.deal_number += 1
            found = field(record, "hands", list, where)
            require(len(found) == 4, f"{where}{len(found)} hands, must be 4")
            for seat in SEATS:
                expect_list(found[seat - 1], dealt[seat - 1], f"{where}hand of seat {seat}")
            hands = {seat: dealt[seat - 1] for seat in SEATS}

            weak = [seat for seat in SEATS if is_weak(hands[seat])]
            expect_list(field(record, "weak", list, where), weak, where + "weak")
            answers = {}
            for answer in field(record, "answers", list, where):
                seat = field(answer, "seat", int, where + "answer: ")
                require(seat in weak, f"{where}seat {seat} answers and was not asked")
                require(seat not in answers, f"{where}seat {seat} answers twice")
                answers[seat] = field(answer, "accept", bool, where + "answer: ")
                self.tick(answer, f"{where}answer of seat {seat}: ")
            is_last = index == len(deals) - 1
            if len(answers) < len(weak):
                require(is_last, f"{where}a redeal before seats {sorted(set(weak) - set(answers))} have answered")
                require(self.abandoned, f"{where}seats {sorted(set(weak) - set(answers))} have not answered")
                return hands, multiplier, accepter, False
            accepters = {seat for seat, accept in answers.items() if accept}
            if accepters:
                # In the first round nobody is fixed to start before the first redeal.
                accepter = redeal_accepter(accepter or self.last_turn_winner, accepters)
                multiplier += 1
                require(not is_last, f"{where}seats {sorted(accepters)} accepted and there was no redeal")
            else:
                require(is_last, f"{where}a redeal that nobody accepted")
        return hands, multiplier, accepter, True

    def check_declarations(self, starter, records, where):
        declared = {}
        require(len(records) <= 4, f"{where}{len(records)} declarations, must be 4")
        for seat, record in zip(order_from(starter), records):
            here = f"{where}declaration {len(declared) + 1}: "
            expect(field(record, "seat", int, here), seat, here + "seat")
            value = field(record, "value", int, here)
            allowed = allowed_declarations(sum(declared.values()), len(declared) == 3, self.zero_streak[seat])
            require(value in allowed, f"{here}seat {seat} declares {value}, allowed are {sorted(allowed)}")
            self.tick(record, here)
            declared[seat] = value
        return declared

    def check_turns(self, starter, dealt, captured, records, where):
        hands = {seat: Counter(dealt[seat]) for seat in SEATS}
        left = 8
        for index, record in enumerate(records):
            here = f"{where}turn {index + 1}: "
            require(left > 0, f"{here}all hands are empty")
            require(not self.incomplete, f"{here}follows a turn that was not finished")
            expect(field(record, "turn", int, here), index + 1, here + "turn")
            expect(field(record, "starter", int, here), starter, here + "starter")
            plays = field(record, "plays", list, here)
            require(len(plays) <= 4, f"{here}{len(plays)} plays, must be 4")
            pieces = []
            for seat, play in zip(order_from(starter), plays):
                pieces.append(self.check_play(seat, play, hands[seat], pieces[0] if pieces else None, here))
            if len(plays) < 4:
                self.break_off(here)
                require(record.get("winner") is None, f"{here}has a winner before its end")
                require(not record.get("piles"), f"{here}has piles before its end")
                continue
            starter = order_from(starter)[turn_winner(pieces)]
            expect(field(record, "winner", int, here), starter, here + "winner")
            expect(field(record, "piles", int, here), len(pieces[0]), here + "piles")
            captured[starter] += len(pieces[0])
            left -= len(pieces[0])
        if left > 0:
            self.break_off(where)
        if not self.incomplete:
            self.last_turn_winner = starter

    def check_play(self, seat, record, hand, first, where):
        here = f"{where}play of seat {seat}: "
        expect(field(record, "seat", int, here), seat, where + "play: seat")
        pieces = field(record, "pieces", list, here)
        for piece in pieces:
            require(isinstance(piece, str) and piece in POINTS, f"{here}{json.dumps(piece)} is no piece")
        require(1 <= len(pieces) <= 6, f"{here}{len(pieces)} pieces, must be 1 to 6")
        for piece, count in Counter(pieces).items():
            require(hand[piece] >= count, f"{here}holds {hand[piece]} {piece}, plays {count}")
            hand[piece] -= count
        play_type = classify(pieces)
        if first is None:
            require(play_type != "INVALID", f"{here}the starter's {pieces} are no valid play")
        else:
            require(len(pieces) == len(first), f"{here}{len(pieces)} pieces, must be {len(first)}")
        expect(field(record, "play_type", str, here), play_type, here + "play_type")
        self.tick(record, here)
        return pieces


def check_game(record):
    """The first difference between a game's record and the rules as a text, or None."""
    try:
        Replay(record).check()
    except Differs as difference:
        return str(difference)
    return None


def check_line(line):
    """As `check_game`, for a line of JSON; also returns the game's id, if it can be read."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return None, f"is no JSON: {error}"
    game_id = record.get("game_id") if isinstance(record, dict) else None
    return game_id, check_game(record)


def main():
    parser = argparse.ArgumentParser(description="Checks completed games against the rules of the game.")
    parser.add_argument("file", help="JSON lines of completed games, `-` for standard input")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    arguments = parser.parse_args()
    source = sys.stdin.buffer if arguments.file == "-" else open(arguments.file, "rb")
    checked = different = 0
    with source, multiprocessing.Pool(max(1, arguments.jobs)) as pool:
        # The pool reads ahead as far as it is let; a large file must not end up in memory.
        ahead = threading.Semaphore(1000)
        lines = (line for line in source if line.strip() and ahead.acquire())
        for number, (game_id, difference) in enumerate(pool.imap(check_line, lines, chunksize=16), 1):
            ahead.release()
            checked += 1
            if difference is not None:
                different += 1
                print(f"game {number} ({game_id}): {difference}", flush=True)
    print(f"{checked} games checked, {different} differ")
    return 2 if checked == 0 else 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
