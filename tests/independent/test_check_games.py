#!/usr/bin/env python3
"""Holds the independent checker against the rules as data, against the published test vector of the deals, and against
records that are wrong on purpose: every one of them must be found.

    python3 -m unittest discover -s tests/independent
"""

import contextlib
import copy
import hashlib
import json
import pathlib
import random
import subprocess
import sys
import unittest
from collections import Counter

import check_games as rules

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "it" / "rules"
LETTERS = {"G": "GENERAL", "A": "ADVISOR", "E": "ELEPHANT", "C": "CHARIOT", "H": "HORSE", "N": "CANNON", "S": "SOLDIER"}
COLORS = {"r": "RED", "b": "BLACK"}


def cases(name):
    """The cases of one data file, each a list of its fields."""
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    found = [[cell.strip() for cell in line.split("|")] for line in lines if line.strip() and not line.startswith("#")]
    assert found, f"{name} holds no case"
    return found


def pieces(text):
    return [f"{LETTERS[word[0]]}_{COLORS[word[1]]}" for word in text.split()]


def number(text):
    return None if text == "-" else int(text)


class RulesAsData(unittest.TestCase):
    def each(self, name):
        for case in cases(name):
            with self.subTest(file=name, case=" | ".join(case)):
                yield case

    def test_the_32_pieces(self):
        self.assertEqual(len(rules.PIECES), 32)
        self.assertEqual(sum(rules.POINTS[piece] for piece in rules.PIECES), 192)
        self.assertEqual(sum(piece.endswith("_RED") for piece in rules.PIECES), 16)

    def test_play_types(self):
        for text, play_type in self.each("play_types.txt"):
            self.assertEqual(rules.classify(pieces(text)), play_type)
            self.assertEqual(rules.classify(pieces(text)[::-1]), play_type)

    def test_comparisons(self):
        for a, b, outcome in self.each("comparisons.txt"):
            self.assertEqual(rules.compare(pieces(a), pieces(b)), outcome)

    def test_turns(self):
        for plays, winner, piles, kind in self.each("turns.txt"):
            plays = [pieces(play) for play in plays.split(";")]
            self.assertEqual(rules.turn_winner(plays), int(winner))
            self.assertEqual(len(plays[0]), int(piles))
            fits = not Counter(sum(plays, [])) - Counter(rules.PIECES)
            self.assertEqual(kind, "dealable" if fits else "compare")

    def test_scores(self):
        for declared, captured, multiplier, score in self.each("scores.txt"):
            self.assertEqual(rules.round_score(int(declared), int(captured), int(multiplier)), int(score))

    def test_declarations(self):
        for total, fourth, streak, allowed in self.each("declarations.txt"):
            self.assertIn(fourth, ("yes", "no"))
            found = rules.allowed_declarations(int(total), fourth == "yes", int(streak))
            self.assertEqual(sorted(found), [int(value) for value in allowed.split()])

    def test_weak_hands(self):
        for hand, answer in self.each("weak_hands.txt"):
            self.assertEqual(len(pieces(hand)), 8)
            self.assertFalse(Counter(pieces(hand)) - Counter(rules.PIECES), "not dealable")
            self.assertEqual("weak" if rules.is_weak(pieces(hand)) else "strong", answer)

    def test_redeals(self):
        for _round, winner, questions, multiplier, starter in self.each("redeals.txt"):
            accepter, found = None, 1
            for question in questions.split(";"):
                accepters = {int(answer[0]) for answer in question.split() if answer[1] == "+"}
                if accepters:
                    accepter = rules.redeal_accepter(accepter or number(winner), accepters)
                    found += 1
            self.assertEqual(found, int(multiplier))
            self.assertEqual(accepter, number(starter))

    def test_starters(self):
        for round_number, accepter, general, winner, starter, reason in self.each("starters.txt"):
            found = rules.round_starter(int(round_number), number(accepter), number(general), number(winner))
            self.assertEqual(found, (int(starter), reason))


class FairDeals(unittest.TestCase):
    """The test vector of docs/fair-deals.md, digit for digit."""

    def test_vector(self):
        text = (HERE.parent.parent / "docs" / "fair-deals.md").read_text(encoding="utf-8")
        lines = dict(line.strip().split(" = ", 1) for line in text.splitlines() if line.startswith("    ") and " = " in line)
        lines = {name.strip(): value.strip() for name, value in lines.items()}
        seed = bytes(range(32))
        self.assertEqual(hashlib.sha256(seed).hexdigest(), lines["commitment"])
        key = rules.game_key(seed, [None, "C0FFEE", None, None])
        self.assertEqual(key.hex(), lines["game_key"])
        for deal in (0, 1):
            hands = [[int(piece) for piece in hand.split()] for hand in lines[f"deal {deal}"].split("|")]
            self.assertEqual(rules.deal_numbers(key, deal), sum(hands, []))

    def test_every_deal_is_the_32_pieces(self):
        for deal in range(200):
            self.assertEqual(sorted(rules.deal_numbers(b"key", deal)), list(range(32)))


def play_a_game(seed, rounds=None, cut=None):
    """A correct record by random play. The players know how the round will go, so they meet their declarations where
    they may and a game is short. `rounds` abandons the game after so many rounds; `cut` (a fraction) within the next."""
    rng = random.Random(seed)
    server_seed = rng.randbytes(32)
    entropy = [None, rng.randbytes(8).hex(), rng.randbytes(32).hex().upper(), None]
    key = rules.game_key(server_seed, entropy)
    names = ["Mira", "Bot 2", "Jon", "Bot 4"]
    record = {
        "format": 1, "rules": 1, "game_id": f"01JD{seed:04}", "room_id": "3FA9C1",
        "started_at": "2026-11-23T10:15:02.120Z", "completed_at": "2026-11-23T10:29:40.004Z", "duration_seconds": 877,
        "players": [
            {"seat": seat, "name": name, "is_bot": name.startswith("Bot")} for seat, name in enumerate(names, 1)
        ],
        "deal_proof": {
            "algorithm": "liap-deal-1", "server_seed": server_seed.hex(), "entropy": entropy,
            "commitment": hashlib.sha256(server_seed).hexdigest(),
        },
        "rounds": [],
        "takeovers": [{"seat": 1, "from": 31.5, "to": 48.0}, {"seat": 3, "from": 40, "to": None}],
    }
    for player in record["players"]:
        if player["is_bot"]:
            player["level"] = rng.choice(["easy", "normal", "hard"])
    clock, dealt = 0.0, 0
    totals, streak, last_winner = [0] * 4, [0] * 4, None

    def at():
        nonlocal clock
        clock = round(clock + 0.25, 2)
        return clock

    while max(totals) < 50 and (rounds is None or len(record["rounds"]) < rounds):
        deals, accepter, multiplier = [], None, 1
        while True:
            hands = rules.deal(key, dealt)
            dealt += 1
            weak = [seat for seat in rules.SEATS if rules.is_weak(hands[seat - 1])]
            asked = rng.sample(weak, len(weak))
            answers = [{"seat": seat, "accept": rng.random() < 0.6, "at": at()} for seat in asked]
            deals.append({"hands": hands, "weak": weak, "answers": answers})
            accepters = {answer["seat"] for answer in answers if answer["accept"]}
            if not accepters:
                break
            accepter = rules.redeal_accepter(accepter or last_winner, accepters)
            multiplier += 1
        general = next(seat for seat in rules.SEATS if "GENERAL_RED" in hands[seat - 1])
        starter, reason = rules.round_starter(len(record["rounds"]) + 1, accepter, general, last_winner)

        left = [list(hand) for hand in hands]
        captured, turns, leader = [0] * 4, [], starter
        while left[0]:
            while True:
                first = rng.sample(left[leader - 1], rng.randint(1, min(6, len(left[0]))))
                if rules.classify(first) != "INVALID":
                    break
            order = rules.order_from(leader)
            plays = [first] + [rng.sample(left[seat - 1], len(first)) for seat in order[1:]]
            for seat, play in zip(order, plays):
                for piece in play:
                    left[seat - 1].remove(piece)
            winner = order[rules.turn_winner(plays)]
            captured[winner - 1] += len(first)
            turns.append({
                "turn": len(turns) + 1, "starter": leader, "winner": winner, "piles": len(first),
                "plays": [
                    {"seat": seat, "pieces": play, "play_type": rules.classify(play)} for seat, play in zip(order, plays)
                ],
            })
            leader = winner
        last_winner = leader

        declared, declarations = [0] * 4, []
        for index, seat in enumerate(rules.order_from(starter)):
            allowed = rules.allowed_declarations(sum(declared), index == 3, streak[seat - 1])
            declared[seat - 1] = min(allowed, key=lambda value: (abs(value - captured[seat - 1]), value))
            declarations.append({"seat": seat, "value": declared[seat - 1], "at": at()})
        for turn in turns:
            for play in turn["plays"]:
                play["at"] = at()
        scores = [rules.round_score(d, c, multiplier) for d, c in zip(declared, captured)]
        totals = [total + score for total, score in zip(totals, scores)]
        streak = [count + 1 if value == 0 else 0 for count, value in zip(streak, declared)]
        record["rounds"].append({
            "round": len(record["rounds"]) + 1, "deals": deals, "multiplier": multiplier, "starter": starter,
            "starter_reason": reason, "declarations": declarations, "turns": turns, "captured": captured,
            "scores": scores, "totals": totals,
        })
    won = max(totals) >= 50
    winners = [seat for seat in rules.SEATS if totals[seat - 1] == max(totals)] if won else []
    record |= {
        "winners": winners, "final_scores": totals, "ended": "won" if won else "abandoned",
        "winner_name": names[winners[0] - 1] if won else None,
    }
    return record


def leaves(value, path=()):
    """Every number, text, truth value and null of a record, with the way to it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path, value


def at_path(record, path):
    for step in path:
        record = record[step]
    return record


@contextlib.contextmanager
def replaced(record, path, value):
    """The record with one value replaced for a while. (Copies of whole games would take a minute.)"""
    if path:
        parent, step = at_path(record, path[:-1]), path[-1]
        before, parent[step] = parent[step], value
    try:
        yield
    finally:
        if path:
            parent[step] = before


def changed(value):
    """A wrong value that looks like the right one."""
    if value is None:
        return "00"
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if value in rules.POINTS:
        return "SOLDIER_RED" if value != "SOLDIER_RED" else "SOLDIER_BLACK"
    return value[:-1] + ("0" if value[-1:] != "0" else "1")


class Records(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.games = [play_a_game(seed) for seed in range(60)]
        cls.rounds = [found for game in cls.games for found in game["rounds"]]

    def wrong(self, record, must_say):
        found = rules.check_game(record)
        self.assertIsNotNone(found, f"not found: {must_say}")
        self.assertRegex(found, must_say)

    def game(self, fits=lambda game: True):
        """A copy of the shortest game that fits."""
        return copy.deepcopy(min(filter(fits, self.games), key=lambda game: len(game["rounds"])))

    def test_correct_games(self):
        for game in self.games:
            self.assertIsNone(rules.check_game(game))

    def test_the_games_show_every_case(self):
        """Without these the tests below would show less than they say."""
        deals = [deal for found in self.rounds for deal in found["deals"]]
        self.assertTrue(any(len(deal["weak"]) > 1 for deal in deals))
        self.assertTrue(any(found["multiplier"] > 2 for found in self.rounds))
        self.assertTrue(any(not answer["accept"] for deal in deals for answer in deal["answers"]))
        reasons = {found["starter_reason"] for found in self.rounds}
        self.assertEqual(reasons, {"has_general_red", "won_last_turn", "accepted_redeal"})
        types = {play["play_type"] for found in self.rounds for turn in found["turns"] for play in turn["plays"]}
        self.assertLessEqual({"SINGLE", "PAIR", "THREE_OF_A_KIND", "STRAIGHT", "INVALID"}, types)

    def test_every_changed_value_is_found(self):
        """Each value of a record, changed alone. Only what the rules cannot know may change unnoticed: who the players
        are and when they moved."""
        free = {"game_id", "room_id", "name", "is_bot", "level", "at", "from", "to", "started_at", "completed_at"}
        game = self.game(lambda game: any(found["multiplier"] > 1 for found in game["rounds"]))
        count = 0
        for path, value in list(leaves(game)):
            if path[-1] in free or path[:2] == ("deal_proof", "entropy") and value is None:
                continue
            count += 1
            with self.subTest(path=path), replaced(game, path, changed(value)):
                self.assertIsNotNone(rules.check_game(game))
        self.assertGreater(count, 500)

    def test_every_missing_field_is_found(self):
        game = self.game(lambda game: any(found["multiplier"] > 1 for found in game["rounds"]))
        ways = {path[:length] for path, _ in leaves(game) for length in range(1, len(path) + 1)}
        for path in ways:
            # Whether a takeover is there at all, the rules do not know.
            if path[0] == "takeovers" and len(path) == 2:
                continue
            wrong = copy.deepcopy(at_path(game, path[:-1]))
            del wrong[path[-1]]
            with self.subTest(path=path), replaced(game, path[:-1], wrong):
                self.assertIsNotNone(rules.check_game(wrong if len(path) == 1 else game))

    def test_every_wrong_type_is_found(self):
        game = self.game()
        for path, value in list(leaves(game)):
            # A later round is read as the first is.
            if path[0] == "rounds" and path[1] > 0:
                continue
            for other in ([], {}, 1.5, True, "x", {"a": [None]}):
                if type(other) is type(value) or path[-1] in ("at", "from", "to") and other == 1.5:
                    continue
                with self.subTest(path=path, other=other), replaced(game, path, other):
                    self.assertIsNotNone(rules.check_game(game))

    def test_another_entropy_deals_other_hands(self):
        game = self.game()
        game["deal_proof"]["entropy"][0] = "00"
        self.wrong(game, "deal 1: hand of seat 1")

    def test_two_pieces_swapped_in_a_hand(self):
        """The same pieces in another order are another deal: players name pieces by their place."""
        game = self.game()
        hand = game["rounds"][0]["deals"][0]["hands"][1]
        swap = next(index for index in range(1, 8) if hand[index] != hand[0])
        hand[0], hand[swap] = hand[swap], hand[0]
        self.wrong(game, "round 1, deal 1: hand of seat 2")

    def test_a_weak_player_not_asked(self):
        game = self.game(lambda game: game["rounds"][0]["deals"][0]["weak"])
        game["rounds"][0]["deals"][0]["weak"] = []
        self.wrong(game, "round 1, deal 1: weak")

    def test_a_question_nobody_answered(self):
        game = self.game(lambda game: any(found["deals"][-1]["weak"] for found in game["rounds"]))
        index, found = next((i, found) for i, found in enumerate(game["rounds"], 1) if found["deals"][-1]["weak"])
        found["deals"][-1]["answers"].pop()
        self.wrong(game, f"round {index}, deal .*have not answered")

    def test_an_answer_of_somebody_else(self):
        game = self.game()
        deal = game["rounds"][0]["deals"][0]
        seat = next(seat for seat in rules.SEATS if seat not in deal["weak"])
        deal["answers"].append({"seat": seat, "accept": False, "at": 0.1})
        self.wrong(game, "was not asked")

    def test_an_answer_given_twice(self):
        game = self.game(lambda game: game["rounds"][0]["deals"][0]["weak"])
        answers = game["rounds"][0]["deals"][0]["answers"]
        answers.append(dict(answers[0]))
        self.wrong(game, "answers twice")

    def test_an_accepted_redeal_that_did_not_happen(self):
        game = self.game(lambda game: any(len(found["deals"]) > 1 for found in game["rounds"]))
        index, found = next((i, found) for i, found in enumerate(game["rounds"], 1) if len(found["deals"]) > 1)
        del found["deals"][1:]
        self.wrong(game, f"round {index}, deal 1: .*there was no redeal")

    def test_a_redeal_that_nobody_accepted(self):
        game = self.game(lambda game: len(game["rounds"][0]["deals"]) == 1 and not game["rounds"][0]["deals"][0]["weak"])
        game["rounds"][0]["deals"].append(copy.deepcopy(game["rounds"][0]["deals"][0]))
        self.wrong(game, "a redeal that nobody accepted")

    def test_declarations_that_sum_to_eight(self):
        game = self.game()
        declarations = game["rounds"][0]["declarations"]
        for declaration, value in zip(declarations, (2, 2, 2, 2)):
            declaration["value"] = value
        self.wrong(game, r"declaration 4: seat \d declares 2, allowed are \[0, 1, 3")

    def test_a_third_zero(self):
        game = self.game(lambda game: len(game["rounds"]) > 2)
        for index in range(3):
            declarations = game["rounds"][index]["declarations"]
            values = {1: 0, 2: 1, 3: 1, 4: 1}
            for declaration in declarations:
                declaration["value"] = values[declaration["seat"]]
            found = game["rounds"][index]
            declared = [values[seat] for seat in rules.SEATS]
            found["scores"] = [
                rules.round_score(d, c, found["multiplier"]) for d, c in zip(declared, found["captured"])
            ]
            before = game["rounds"][index - 1]["totals"] if index else [0] * 4
            found["totals"] = [total + score for total, score in zip(before, found["scores"])]
        self.wrong(game, r"round 3: declaration \d: seat 1 declares 0, allowed are \[1, ")

    def test_a_declaration_out_of_turn(self):
        game = self.game()
        declarations = game["rounds"][0]["declarations"]
        declarations[0]["seat"], declarations[1]["seat"] = declarations[1]["seat"], declarations[0]["seat"]
        self.wrong(game, "declaration 1: seat")

    def test_a_piece_not_held(self):
        game = self.game()
        play = game["rounds"][0]["turns"][0]["plays"][1]
        hand = game["rounds"][0]["deals"][-1]["hands"][play["seat"] - 1]
        play["pieces"][0] = next(piece for piece in rules.POINTS if piece not in hand)
        self.wrong(game, "turn 1: play of seat .*holds 0")

    def test_a_piece_played_twice(self):
        game = self.game()
        turns = game["rounds"][0]["turns"]
        first = next(play for play in turns[0]["plays"])
        second = next(play for play in turns[1]["plays"] if play["seat"] == first["seat"])
        second["pieces"] = first["pieces"][:1] * len(second["pieces"])
        self.wrong(game, "holds|no valid play")

    def test_a_starter_without_a_valid_play(self):
        def split(found):
            hand = found["deals"][-1]["hands"][found["turns"][0]["starter"] - 1]
            return next(([a, b] for a in hand for b in hand if rules.classify([a, b]) == "INVALID" and a != b), None)

        game = self.game(lambda game: len(game["rounds"][0]["turns"][0]["plays"][0]["pieces"]) == 2)
        game["rounds"][0]["turns"][0]["plays"][0]["pieces"] = split(game["rounds"][0])
        self.wrong(game, "the starter's .* are no valid play")

    def test_a_wrong_count(self):
        game = self.game()
        play = game["rounds"][0]["turns"][0]["plays"][2]
        hand = game["rounds"][0]["deals"][-1]["hands"][play["seat"] - 1]
        play["pieces"] = hand[: len(play["pieces"]) + 1]
        self.wrong(game, r"turn 1: play of seat \d: \d pieces, must be")

    def test_an_unfinished_round_of_a_won_game(self):
        for path in ("declarations", "turns"):
            game = self.game()
            game["rounds"][-1][path].pop()
            self.wrong(game, "is not finished")
        game = self.game()
        game["rounds"][-1]["turns"][-1]["plays"].pop()
        self.wrong(game, "is not finished")

    def test_a_game_that_goes_on_after_its_end(self):
        game = self.game()
        game["rounds"].append(copy.deepcopy(game["rounds"][-1]))
        self.wrong(game, "after the game was over")

    def test_a_game_that_ends_too_early(self):
        game = self.game()
        game["rounds"].pop()
        game["final_scores"] = game["rounds"][-1]["totals"]
        self.wrong(game, "nobody has won")

    def test_a_won_game_called_abandoned(self):
        game = self.game() | {"ended": "abandoned", "winners": [], "winner_name": None}
        self.wrong(game, "it is won")

    def test_a_shared_win(self):
        """All with the highest total win; the record must not name only one of them."""
        replay = rules.Replay({"winners": [1, 3], "final_scores": [52, 3, 52, 51], "winner_name": "Mira"})
        replay.abandoned, replay.names = False, {1: "Mira", 2: "Ann", 3: "Jon", 4: "Kim"}
        replay.totals = {1: 52, 2: 3, 3: 52, 4: 51}
        replay.check_end()
        for winners in ([1], [3], [3, 1], [1, 3, 4], []):
            replay.record["winners"] = winners
            self.assertRaisesRegex(rules.Differs, "winners", replay.check_end)

    def test_moves_back_in_time(self):
        game = self.game()
        game["rounds"][0]["declarations"][2]["at"] = 0
        self.wrong(game, "before the move before it")

    def test_overlapping_takeovers(self):
        game = self.game()
        game["takeovers"] = [{"seat": 1, "from": 3.0, "to": 9.0}, {"seat": 1, "from": 8.0, "to": None}]
        self.wrong(game, "taken over already")
        game["takeovers"] = [{"seat": 1, "from": 3.0, "to": None}, {"seat": 1, "from": 8.0, "to": None}]
        self.wrong(game, "taken over already")
        game["takeovers"] = [{"seat": 2, "from": 3.0, "to": None}]
        self.wrong(game, "seat 2 is not a human's")

    def test_abandoned_games(self):
        """A game may break off anywhere, but what was played until then must be right."""
        game = play_a_game(3, rounds=2)
        self.assertIsNone(rules.check_game(game))
        self.assertIsNone(rules.check_game(play_a_game(3, rounds=0)))
        game = play_a_game(3, rounds=3)
        final = game["rounds"][1]["totals"]
        game["final_scores"] = final
        found = game["rounds"][2]
        found |= {"scores": [], "totals": []}
        found["turns"][-1]["plays"].pop()
        found["turns"][-1] |= {"winner": None, "piles": 0}
        found["captured"] = [
            sum(turn["piles"] for turn in found["turns"][:-1] if turn["winner"] == seat) for seat in rules.SEATS
        ]
        self.assertIsNone(rules.check_game(game))
        self.wrong(game | {"final_scores": [1, 2, 3, 4]}, "final_scores")
        wrong = copy.deepcopy(game)
        wrong["rounds"][2]["scores"] = [1, 1, 1, 1]
        self.wrong(wrong, "scores is .* before its time")
        found |= {"turns": [], "captured": []}
        found["declarations"].pop()
        self.assertIsNone(rules.check_game(game))
        found |= {"declarations": [], "multiplier": found["multiplier"] + 1}
        self.wrong(game, "multiplier")


class Command(unittest.TestCase):
    def run_on(self, text, *arguments):
        command = [sys.executable, str(HERE / "check_games.py"), "-", "--jobs", "2", *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)

    def test_counts_and_exit_codes(self):
        games = [play_a_game(seed) for seed in range(20)]
        lines = [json.dumps(game) for game in games]
        result = self.run_on("\n".join(lines) + "\n")
        self.assertEqual((result.returncode, result.stdout), (0, "20 games checked, 0 differ\n"))
        games[7]["rounds"][0]["scores"][0] += 1
        lines[7] = json.dumps(games[7])
        lines[12] = lines[12][:-5]
        result = self.run_on("\n".join(lines))
        self.assertEqual(result.returncode, 1)
        found = result.stdout.splitlines()
        self.assertRegex(found[0], r"^game 8 \(01JD0007\): round 1: scores is \[.*\], must be \[.*\]$")
        self.assertRegex(found[1], r"^game 13 \(None\): is no JSON")
        self.assertEqual(found[2:], ["20 games checked, 2 differ"])

    def test_nothing_to_check_is_no_success(self):
        result = self.run_on("\n")
        self.assertEqual((result.returncode, result.stdout), (2, "0 games checked, 0 differ\n"))


if __name__ == "__main__":
    unittest.main()
