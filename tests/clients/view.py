"""What one receiver has been told so far, and whether the next frame fits to it and to the rules; and the table's
truth, put together from all receivers' frames and held against the deal proof when the game is over.
"""

from collections import Counter

from frames import PIECE_TEXT, require, rules

NEXT_PHASES = {
    "preparation": {"preparation", "round_start"},
    "round_start": {"round_start", "declaration"},
    "declaration": {"declaration", "turn"},
    "turn": {"turn", "turn_results"},
    "turn_results": {"turn_results", "scoring"},
    "scoring": {"scoring", "preparation", "game_over"},
    "game_over": {"game_over"},
}


def is_subsequence(part, whole):
    """Whether `part` is `whole` with some items removed and the rest in order."""
    rest = iter(whole)
    return all(item in rest for item in part)


class Truth:
    """One game as all its receivers together know it."""

    def __init__(self):
        self.commitment = None
        self.entropy = {}
        self.order = None
        self.multipliers = {}
        self.plays = {}
        self.hands = set()
        self.starters = {}
        self.totals = {}
        self.audited = False
        self.texts = {}

    def agree(self, store, key, value, what):
        """All receivers must be told the same."""
        known = store.setdefault(key, value)
        require(known == value, f"{what} {key} is {value}, another receiver was told {known}")

    def play(self, round_number, turn, name, pieces):
        self.agree(self.plays, (round_number, turn, name), tuple(sorted(pieces)), "the play")

    def audit(self, proof, rounds):
        """Recomputes every deal from the proof and holds everything seen by anybody against it."""
        require(proof["commitment"] == self.commitment, "the proof's commitment is not the one shown before the game")
        for seat, name in enumerate(self.order):
            found, sent = proof["entropy"][seat], self.entropy.get(name)
            require((found or "").lower() == (sent or "").lower(), f"entropy of seat {seat + 1} is {found}, {sent} was sent")
        key = rules.game_key(bytes.fromhex(proof["server_seed"]), proof["entropy"])
        number, deals = 0, {}
        for round_number in range(1, rounds + 1):
            count = self.multipliers.get(round_number)
            require(count is not None, f"nobody was told the multiplier of round {round_number}")
            deals[round_number] = [rules.deal(key, number + index) for index in range(count)]
            number += count
        for round_number, name, hand in self.hands:
            dealt = [hands[self.order.index(name)] for hands in deals[round_number]]
            require(
                any(is_subsequence(hand, whole) for whole in dealt),
                f"round {round_number}: {name} was shown {hand}, dealt were {dealt}",
            )
        played = {}
        for (round_number, _turn, name), pieces in self.plays.items():
            played.setdefault((round_number, name), Counter()).update(pieces)
        for (round_number, name), pieces in played.items():
            dealt = Counter(deals[round_number][-1][self.order.index(name)])
            require(not pieces - dealt, f"round {round_number}: {name} played {dict(pieces - dealt)}, which he was not dealt")
        for round_number, (starter, reason) in self.starters.items():
            final, seat = deals[round_number][-1], self.order.index(starter)
            if reason == "has_general_red":
                require(round_number == 1 and "GENERAL_RED" in final[seat], f"{starter} has no GENERAL_RED")
            elif reason == "accepted_redeal":
                require(len(deals[round_number]) > 1, f"round {round_number}: {starter} accepted, nobody redealt")
                weak = rules.is_weak(deals[round_number][-2][seat])
                require(weak, f"round {round_number}: {starter} accepted a redeal without a weak hand")
            else:
                require(len(deals[round_number]) == 1, f"round {round_number}: redealt, starter for {reason}")
        # After a declined or unasked question nobody must have been weak unasked, and every redeal needs a weak hand.
        for round_number, hands in deals.items():
            for earlier in hands[:-1]:
                require(any(map(rules.is_weak, earlier)), f"round {round_number}: a redeal with no weak hand")
        self.audited = True


class View:
    """One receiver of a game; `name` is None for a watcher."""

    def __init__(self, name, truth):
        self.name, self.truth = name, truth
        self.order = None
        self.known = False
        self.asks = False
        self.phase = None
        self.round = 0
        self.hand = None
        self.hand_is_final = False
        self.sent = None
        self.plays, self.turn, self.leader = {}, 0, None
        self.declared, self.captured, self.totals, self.streak = {}, {}, {}, {}
        self.starter = None
        self.multiplier = 1
        self.result = None
        self.last_winner = None
        self.whole_game = True
        self.turns_won, self.perfect = Counter(), Counter()
        self.proof = None
        self.game_id = None

    def missed(self):
        """The socket was closed: what comes next need not follow from what came last."""
        self.known = False
        self.sent = None
        self.last_winner = None

    def asked(self):
        """The state was asked for: the answer may show the last turn again, behind the results that were shown already."""
        self.asks = True

    def resync(self, data):
        players = data["players"]
        phase_data = data["phase_data"]
        require(data["round"] >= self.round, f"round {data['round']} after round {self.round}")
        # Before the first turn all that counts later is still on show.
        early = data["round"] == 1 and data["phase"] in ("preparation", "round_start", "declaration")
        self.whole_game = self.whole_game and early
        if data["round"] != self.round:
            self.hand, self.starter, self.multiplier = None, None, 1
        self.round, self.phase = data["round"], data["phase"]
        self.totals = {name: player["score"] for name, player in players.items()}
        # In the first round the streak before it is 0; the frame may count the zeros declared in it already.
        self.streak = {name: 0 if early else player["zero_declares_in_a_row"] for name, player in players.items()}
        self.declared = {name: player["declared"] for name, player in players.items()}
        self.captured = {name: player["captured_piles"] for name, player in players.items()}
        self.plays, self.leader, self.result = {}, None, None
        if self.phase == "turn":
            self.turn = phase_data["current_turn_number"]
            self.leader = phase_data["current_turn_starter"]
            self.captured = dict(phase_data["pile_counts"])
            if phase_data.get("winner"):
                winner = self.winner_of(phase_data["turn_plays"])
                count = len(next(iter(phase_data["turn_plays"].values()))["pieces"])
                self.captured[winner] -= count
        else:
            self.turn = 0
        self.known = "resync"

    def winner_of(self, turn_plays):
        names = list(turn_plays)
        pieces = [[PIECE_TEXT[piece] for piece in turn_plays[name]["pieces"]] for name in names]
        return names[rules.turn_winner(pieces)]

    def check(self, event, data):
        """Raises `Violation` if the frame does not fit."""
        if event == "phase_change":
            self.phase_change(data)
        elif event == "turn_complete":
            self.turn_complete(data)
        elif event == "recovery_response":
            # The state that follows may be one that was shown already. A turn still on the table is not among those won;
            # what is, everybody has been shown alike.
            self.missed()
            for told in data["events"]:
                if told["type"] == "turn_won":
                    for play in told["plays"]:
                        pieces = [PIECE_TEXT[text] for text in play["pieces"]]
                        self.truth.play(told["round"], told["turn"], play["player"], pieces)

    def turn_complete(self, data):
        if not self.known or self.phase != "turn":
            return
        require(self.result is not None, "turn_complete before the 4th play")
        winner, piles = self.result
        require(data["winner"] == winner, f"winner is {data['winner']!r}, must be {winner!r}")
        found = sorted(PIECE_TEXT[piece] for piece in data["winning_play"]["pieces"])
        require(found == sorted(self.plays[winner]["pieces"]), f"winning_play.pieces are {found}")
        require(data["turn_number"] == self.turn, f"turn_number is {data['turn_number']}, must be {self.turn}")
        names = [player["name"] for player in data["turn_players_data"]]
        require(names == self.order, f"turn_players_data are {names}, must be {self.order}")
        for player in data["turn_players_data"]:
            name = player["name"]
            must = self.captured[name] + (piles if name == winner else 0)
            require(player["captured_piles"] == must, f"{name}'s captured_piles are {player['captured_piles']}, not {must}")
            require(player["declared"] == self.declared[name], f"{name} declared {self.declared[name]}")
        empty = sum(self.captured.values()) + piles == 8
        require(data["all_hands_empty"] == empty, f"all_hands_empty is {data['all_hands_empty']}")

    def phase_change(self, data):
        players = data["players"]
        order = list(players)
        require(self.order in (None, order), f"the seats were {self.order}, now {order}")
        self.order = order
        if self.truth.order is None:
            self.truth.order = order
        require(self.truth.order == order, f"the seats are {order}, another receiver was told {self.truth.order}")
        phase, phase_data = data["phase"], data["phase_data"]
        if self.asks and phase == "turn" and self.phase == "turn_results":
            self.missed()
            self.asks = False
        if not self.known:
            self.resync(data)
        require(phase in NEXT_PHASES[self.phase], f"{phase} after {self.phase}")
        if phase == "preparation" and self.phase == "scoring":
            require(data["round"] == self.round + 1, f"round {data['round']} after round {self.round}")
            self.begin_round(data["round"])
        require(data["round"] == self.round, f"round {data['round']} in round {self.round}")
        getattr(self, f"on_{phase}")(phase_data, players)
        if self.name in players and phase != "game_over":
            self.own_hand(phase, phase_data, players[self.name]["hand"])
        if phase in ("scoring", "game_over"):
            scores = {name: player["score"] for name, player in players.items()}
            self.truth.agree(self.truth.totals, (self.round, phase == "scoring"), scores, "totals after round")
        self.phase = phase
        self.known = True

    def begin_round(self, number):
        self.round = number
        self.hand = None
        self.declared = {name: 0 for name in self.order}
        self.captured = {name: 0 for name in self.order}
        self.plays, self.turn, self.leader, self.result, self.starter = {}, 0, None, None, None
        self.multiplier = 1

    def own_hand(self, phase, phase_data, texts):
        """The order of a hand is fixed: it only changes by a deal, or by the pieces of one's own play leaving it."""
        hand = [PIECE_TEXT[text] for text in texts]
        was_final, self.hand_is_final = self.hand_is_final, phase != "preparation"
        if phase == "preparation":
            if not hand:
                return
            require(len(hand) == 8, f"{len(hand)} pieces in hand in preparation")
            if hand != self.hand:
                self.hand = hand
                self.sent = None
            waiting = phase_data.get("weak_players_awaiting", [])
            if phase_data.get("simultaneous_mode") and phase_data.get("decisions_received") == 0:
                require((self.name in waiting) == rules.is_weak(hand), f"asked are {waiting}, the hand is {hand}")
        elif self.hand is None or self.known == "resync":
            # In what was missed there may have been a redeal, if the hand had been seen in preparation only.
            if self.hand is not None and was_final:
                require(is_subsequence(hand, self.hand), f"the hand was {self.hand}, now {hand}")
            self.hand = hand
        elif hand != self.hand:
            played = self.plays.get(self.name)
            require(phase in ("turn", "turn_results") and played, f"the hand was {self.hand}, now {hand}")
            require(is_subsequence(hand, self.hand), f"the hand was {self.hand}, now {hand}: not its order")
            gone = Counter(self.hand) - Counter(hand)
            require(gone == Counter(played["pieces"]), f"the hand lost {dict(gone)}, played were {played['pieces']}")
            if self.sent and Counter(self.sent[1]) == gone:
                require(hand == self.sent[2], f"the hand must be {self.sent[2]}, is {hand}: other copies were taken")
            self.hand, self.sent = hand, None
        if self.hand:
            self.truth.hands.add((self.round, self.name, tuple(self.hand)))

    # One method a phase.

    def on_preparation(self, data, players):
        require(data["redeal_multiplier"] >= self.multiplier, f"redeal_multiplier fell to {data['redeal_multiplier']}")
        self.multiplier = data["redeal_multiplier"]
        if self.phase == "preparation":
            self.declared = {name: 0 for name in self.order}
            self.captured = {name: 0 for name in self.order}
        for name, player in players.items():
            require(player["declared"] == 0, f"{name} has declared {player['declared']} in preparation")
            require(player["captured_piles"] == 0, f"{name} has {player['captured_piles']} piles in preparation")

    def on_round_start(self, data, _players):
        found = (data["current_starter"], data["starter_reason"])
        self.truth.agree(self.truth.starters, self.round, found, "starter of round")
        self.starter = found[0]
        if found[1] == "won_last_turn":
            require(self.last_winner in (None, found[0]), f"{self.last_winner} won the last turn, {found[0]} starts")

    def on_declaration(self, data, players):
        if self.starter:
            require(data["declaration_order"][0] == self.starter, f"{self.starter} starts, not {data['declaration_order']}")
        made = data["declarations"]
        names = list(made)
        for index, name in enumerate(names):
            total = sum(made[earlier] for earlier in names[:index])
            allowed = rules.allowed_declarations(total, index == 3, self.streak.get(name, 0) if self.whole_game else 0)
            require(made[name] in allowed, f"{name} declared {made[name]}, allowed are {sorted(allowed)}")
        for name, player in players.items():
            require(player["declared"] == made.get(name, 0), f"{name} declared {made.get(name)}, not {player['declared']}")
            if name not in made and self.whole_game:
                found = player["zero_declares_in_a_row"]
                require(found == self.streak[name], f"{name}'s zero streak is {self.streak[name]}, not {found}")
        if self.phase == "declaration" and self.known is True:
            for name, value in self.declared.items():
                require(value == 0 or made.get(name) == value, f"{name}'s declaration was {value}, is {made.get(name)}")
        self.declared = {name: made.get(name, 0) for name in self.order}

    def sweep(self):
        """The winner of the turn takes his piles."""
        if self.result:
            self.captured[self.result[0]] += self.result[1]
            self.turns_won[self.result[0]] += 1
            self.last_winner, self.result = self.result[0], None

    def next_turn(self, number, data):
        if self.phase == "turn" and self.turn:
            require(number == self.turn + 1, f"turn {number} after turn {self.turn}")
            require(self.result, f"turn {number} starts before turn {self.turn} was complete")
        else:
            require(number == 1, f"the first turn has number {number}")
        leader = self.result[0] if self.result else self.starter
        require(leader in (None, data["current_turn_starter"]), f"{leader} must lead, not {data['current_turn_starter']}")
        self.sweep()
        self.turn, self.leader, self.plays = number, data["current_turn_starter"], {}

    def on_turn(self, data, players):
        number = data["current_turn_number"]
        if number != self.turn:
            self.next_turn(number, data)
        require(data["current_turn_starter"] == self.leader, f"{self.leader} led, now {data['current_turn_starter']}")
        shown = data["turn_plays"]
        require(len(shown) >= len(self.plays), f"{len(self.plays)} plays lay on the table, now {len(shown)}")
        open_now = len(shown) == 4
        for name, play in shown.items():
            pieces = [PIECE_TEXT[piece] for piece in play["pieces"]]
            known = self.plays.get(name)
            if known:
                require(len(known["pieces"]) == len(pieces), f"{name}'s play had {len(known['pieces'])} pieces")
                if known["true"]:
                    same = sorted(known["pieces"]) == sorted(pieces)
                    require(same, f"{name} played {known['pieces']}, now it is {pieces}")
                elif name == self.leader:
                    require(known["type"] == play["play_type"], f"{name}'s play was {known['type']}, now {play['play_type']}")
            true = open_now or name == self.name
            self.plays[name] = {"pieces": pieces, "type": play["play_type"], "true": true}
            if true:
                self.truth.play(self.round, number, name, pieces)
        taken = bool(data.get("winner"))
        if open_now:
            winner = self.winner_of(shown)
            self.result = (winner, len(self.plays[winner]["pieces"]))
            if taken:
                require(data["winner"] == winner, f"winner is {data['winner']!r}, must be {winner!r}")
                require(data.get("next_turn_starter", winner) == winner, f"next_turn_starter is {data['next_turn_starter']!r}")
                require(data.get("piles_won", self.result[1]) == self.result[1], f"piles_won is {data['piles_won']}")
        after = dict(self.captured)
        if self.result:
            after[self.result[0]] += self.result[1]
        must = after if taken else self.captured
        require(data["pile_counts"] == must, f"pile_counts are {data['pile_counts']}, must be {must}")
        for name, player in players.items():
            found = player["captured_piles"]
            fits = found == after[name] if taken else found in (self.captured[name], after[name])
            require(fits, f"{name}'s captured_piles are {found}, must be {must[name]}")
            require(player["declared"] == self.declared[name], f"{name} declared {self.declared[name]}, not {player['declared']}")

    def on_turn_results(self, _data, players):
        self.sweep()
        for name, player in players.items():
            require(player["captured_piles"] == self.captured[name], f"{name} has {self.captured[name]} piles")
        require(sum(self.captured.values()) == 8, f"the piles of the round sum to {sum(self.captured.values())}")

    def on_scoring(self, data, players):
        first = self.phase != "scoring"
        scores = data["round_scores"]
        multiplier = data["redeal_multiplier"]
        self.truth.agree(self.truth.multipliers, self.round, multiplier, "multiplier of round")
        for name, score in scores.items():
            if first and self.known is True:
                require(score["declared"] == self.declared[name], f"{name} declared {self.declared[name]}")
                require(score["actual"] == self.captured[name], f"{name} captured {self.captured[name]}")
                must = self.totals[name] + score["final_score"]
                require(score["total_score"] == must, f"{name}'s total is {score['total_score']}, must be {must}")
                self.streak[name] = self.streak[name] + 1 if score["declared"] == 0 else 0
                if score["declared"] == score["actual"] > 0:
                    self.perfect[name] += 1
            require(players[name]["score"] == score["total_score"], f"{name}'s score is {players[name]['score']}")
        self.totals = {name: score["total_score"] for name, score in scores.items()}

    def on_game_over(self, data, players):
        best = max(player["score"] for player in players.values())
        require(best >= rules.WINNING_TOTAL, f"the game is over with {best} points")
        require(data["game_stats"]["total_rounds"] == self.round, f"total_rounds is {data['game_stats']['total_rounds']}")
        for name, player in players.items():
            require(player["score"] == self.totals[name], f"{name} has {self.totals[name]} points, not {player['score']}")
        for entry in data["final_rankings"]:
            if self.whole_game:
                name = entry["name"]
                require(entry["perfect_rounds"] == self.perfect[name], f"{name} had {self.perfect[name]} perfect rounds")
                require(entry["turns_won"] == self.turns_won[name], f"{name} won {self.turns_won[name]} turns")
        require(self.proof in (None, data["deal_proof"]), "two different proofs")
        if self.proof is None:
            self.proof, self.game_id = data["deal_proof"], data["game_id"]
            self.truth.audit(self.proof, self.round)
