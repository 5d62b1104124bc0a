"""What a single frame of the server must look like: required fields, types, and nothing its receiver may not know.

Everything here judges one frame by itself; `view.py` judges a frame by what was said before.
"""

import functools
import hashlib
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "independent"))
import check_games as rules  # noqa: E402  (the rules live next door)

PIECE_TEXT = {f"{name}({points})": name for name, points in rules.POINTS.items()}
"""Pieces as the wire spells them, to their names."""
MASK = "SOLDIER_BLACK(1)"
TYPES = {
    "SINGLE", "PAIR", "THREE_OF_A_KIND", "STRAIGHT", "FOUR_OF_A_KIND", "EXTENDED_STRAIGHT", "FIVE_OF_A_KIND",
    "EXTENDED_STRAIGHT_5", "DOUBLE_STRAIGHT",
}
COLORS = {"blue", "purple", "orange", "red", "green", "teal", "pink", "yellow"}
PHASES = {"preparation", "round_start", "declaration", "turn", "turn_results", "scoring", "game_over"}
REASONS = {"has_general_red", "won_last_turn", "accepted_redeal", "default"}
ROOM_ID = re.compile(r"[0-9A-F]{6}")
SECRET = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])")
A_PIECE = re.compile("(GENERAL|ADVISOR|ELEPHANT|CHARIOT|HORSE|CANNON|SOLDIER).?(RED|BLACK)|[帥將仕士相象俥車傌馬炮砲兵卒]", re.I)


class Violation(Exception):
    """A frame that should not have been sent."""


def require(condition, reason):
    if not condition:
        raise Violation(reason)


def is_int(value):
    return type(value) is int


def get(mapping, name, kind, where):
    """A field that must be there: `kind` is a type or a tuple of types (`type(None)` for null)."""
    if name not in mapping:
        raise Violation(f"{where}.{name} is missing")
    value = mapping[name]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if type(value) not in kinds:
        raise Violation(f"{where}.{name} is {json.dumps(value)[:80]}, must be {'/'.join(k.__name__ for k in kinds)}")
    return value


def optional(mapping, name, kind, where):
    return get(mapping, name, kind, where) if name in mapping else None


def texts(value, where):
    require(type(value) is list and all(type(item) is str for item in value), f"{where} is no array of strings")
    return value


def piece_names(value, where):
    """Names of an array of pieces in the wire's spelling."""
    require(type(value) is list, f"{where} is no array")
    for item in value:
        require(type(item) is str and item in PIECE_TEXT, f"{where} holds {json.dumps(item)}, which is no piece")
    return [PIECE_TEXT[item] for item in value]


# --- Rooms -----------------------------------------------------------------------------------------------------------


def check_sitter(player, where):
    require(type(player) is dict, f"{where} is no object")
    get(player, "name", str, where)
    is_bot = get(player, "is_bot", bool, where)
    get(player, "is_host", bool, where)
    color = optional(player, "avatar_color", (str, type(None)), where)
    require(color is None or color in COLORS, f"{where}.avatar_color is {json.dumps(color)}")
    require(is_bot or color is not None, f"{where}.avatar_color of a human is null")


def check_seats(players, where):
    require(type(players) is list and len(players) == 4, f"{where} must be an array of 4")
    names = []
    for index, player in enumerate(players):
        if player is not None:
            check_sitter(player, f"{where}[{index}]")
            names.append(player["name"])
    require(len(set(names)) == len(names), f"{where} names somebody twice")
    colors = [player["avatar_color"] for player in players if player and player.get("avatar_color")]
    require(len(set(colors)) == len(colors), f"{where} gives two players one colour")
    return names


def check_room(room, where):
    require(type(room) is dict, f"{where} is no object")
    require(ROOM_ID.fullmatch(get(room, "room_id", str, where)), f"{where}.room_id is {room['room_id']!r}")
    names = check_seats(get(room, "players", list, where), where + ".players")
    host = get(room, "host_name", str, where)
    hosts = [player["name"] for player in room["players"] if player and player["is_host"]]
    require(hosts == [host], f"{where}: host_name is {host!r}, is_host is set for {hosts}")
    get(room, "started", bool, where)
    for name, must in (("total_slots", 4), ("occupied_slots", len(names))):
        if name in room:
            require(is_int(room[name]) and room[name] == must, f"{where}.{name} is {room[name]!r}, must be {must}")
    if "slots" in room:
        must = {f"P{index}": player for index, player in enumerate(room["players"], 1)}
        require(room["slots"] == must and list(room["slots"]) == list(must), f"{where}.slots is not players")


def room_list_update(data, _me):
    rooms = get(data, "rooms", list, "data")
    for index, room in enumerate(rooms):
        check_room(room, f"data.rooms[{index}]")
        require(room["started"] is False, f"data.rooms[{index}] has started and is listed")
    ids = [room["room_id"] for room in rooms]
    require(len(set(ids)) == len(ids), "data.rooms lists a room twice")


def room_created(data, _me):
    require(ROOM_ID.fullmatch(get(data, "room_id", str, "data")), f"data.room_id is {data['room_id']!r}")
    get(data, "host_name", str, "data")
    require(get(data, "success", bool, "data"), "data.success is false")
    require(len(get(data, "seat_token", str, "data")) >= 22, "data.seat_token is shorter than 128 bits")


def room_joined(data, _me):
    require(ROOM_ID.fullmatch(get(data, "room_id", str, "data")), f"data.room_id is {data['room_id']!r}")
    get(data, "player_name", str, "data")
    require(get(data, "assigned_slot", int, "data") in range(4), f"data.assigned_slot is {data['assigned_slot']}")
    require(get(data, "success", bool, "data"), "data.success is false")
    require(len(get(data, "seat_token", str, "data")) >= 22, "data.seat_token is shorter than 128 bits")


def room_update(data, _me):
    check_room(data, "data")
    commitment = get(data, "deal_commitment", str, "data")
    require(SECRET.fullmatch(commitment), f"data.deal_commitment is {commitment!r}")


def room_state_update(data, _me):
    get(data, "slots", (dict, list), "data")
    get(data, "host_name", str, "data")
    require(SECRET.fullmatch(get(data, "deal_commitment", str, "data")), "data.deal_commitment is no SHA-256")


def room_not_found(data, _me):
    get(data, "room_id", str, "data")
    require(get(data, "message", str, "data"), "data.message is empty")
    require(get(data, "suggestion", str, "data"), "data.suggestion is empty")


def room_closed(data, _me):
    optional(data, "reason", str, "data")
    optional(data, "message", str, "data")


def game_started(data, _me):
    get(data, "room_id", str, "data")
    require(get(data, "success", bool, "data"), "data.success is false")


def player_left(data, _me):
    get(data, "player_name", str, "data")


# --- The game --------------------------------------------------------------------------------------------------------

PLAYER_FIELDS = (
    ("name", str), ("is_bot", bool), ("avatar_color", (str, type(None))), ("score", int), ("declared", int),
    ("captured_piles", int), ("hand_size", int),
)


def check_player(player, where):
    require(type(player) is dict, f"{where} is no object")
    for name, kind in PLAYER_FIELDS:
        get(player, name, kind, where)
    require(player["avatar_color"] in COLORS | {None}, f"{where}.avatar_color is {player['avatar_color']!r}")
    for name, most in (("declared", 8), ("captured_piles", 8), ("hand_size", 8)):
        require(0 <= player[name] <= most, f"{where}.{name} is {player[name]}")
    for name in ("is_host", "is_connected", "original_is_bot"):
        optional(player, name, bool, where)


def check_players(data, me):
    players = get(data, "players", dict, "data")
    require(len(players) == 4, f"data.players has {len(players)} entries, must have 4")
    for name, player in players.items():
        where = f"data.players[{name}]"
        check_player(player, where)
        require(player["name"] == name, f"{where}.name is {player['name']!r}")
        require(get(player, "zero_declares_in_a_row", int, where) >= 0, f"{where}.zero_declares_in_a_row < 0")
        if name == me:
            hand = piece_names(get(player, "hand", list, where), where + ".hand")
            empty_before_deal = data.get("phase") == "preparation" and not hand
            require(
                empty_before_deal or len(hand) == player["hand_size"],
                f"{where}: {len(hand)} pieces in hand, hand_size {player['hand_size']}",
            )
        else:
            require(player.get("hand", []) == [], f"{where}.hand of another is shown: {player.get('hand')}")
    listed = data["phase_data"].get("players")
    if listed is not None:
        require(type(listed) is list and len(listed) == 4, "data.phase_data.players must be an array of 4")
        for index, player in enumerate(listed):
            check_player(player, f"data.phase_data.players[{index}]")
            require("hand" not in player or player["hand"] == [], f"data.phase_data.players[{index}].hand is shown")
        require([player["name"] for player in listed] == list(players), "players and phase_data.players differ in order")
        for player in listed:
            for name, _ in PLAYER_FIELDS:
                same = players[player["name"]][name]
                require(player[name] == same, f"phase_data.players {player['name']}.{name} {player[name]} is not {same}")
    return players


def names_in(players, value, where):
    require(type(value) is str and value in players, f"{where} is {json.dumps(value)}, which is no player")


def by_name(players, mapping, where, *, all_four=True):
    require(type(mapping) is dict, f"{where} is no object")
    for name in mapping:
        names_in(players, name, where)
    require(not all_four or len(mapping) == 4, f"{where} has {len(mapping)} entries, must have 4")


def preparation(data, players):
    get(data, "dealing_cards", bool, "phase_data")
    require(get(data, "redeal_multiplier", int, "phase_data") >= 1, "phase_data.redeal_multiplier < 1")
    simultaneous = optional(data, "simultaneous_mode", bool, "phase_data")
    if simultaneous:
        for name in texts(get(data, "weak_players_awaiting", list, "phase_data"), "phase_data.weak_players_awaiting"):
            names_in(players, name, "phase_data.weak_players_awaiting")
        received = get(data, "decisions_received", int, "phase_data")
        needed = get(data, "decisions_needed", int, "phase_data")
        require(0 <= received <= needed <= 3, f"phase_data: {received} of {needed} decisions")
        waiting = len(data["weak_players_awaiting"])
        require(received + waiting == needed, f"phase_data: {received} received and {waiting} awaited of {needed}")
    require("redeal_decisions" not in data, "phase_data.redeal_decisions reveals who declined")
    require("decision" not in data, "phase_data.decision reveals who declined")


def round_start(data, players):
    names_in(players, get(data, "current_starter", str, "phase_data"), "phase_data.current_starter")
    require(get(data, "starter_reason", str, "phase_data") in REASONS, f"starter_reason is {data['starter_reason']!r}")


def declaration(data, players):
    order = texts(get(data, "declaration_order", list, "phase_data"), "phase_data.declaration_order")
    require(sorted(order) == sorted(players), f"phase_data.declaration_order is {order}")
    made = get(data, "declarations", dict, "phase_data")
    require(list(made) == order[: len(made)], f"phase_data.declarations of {list(made)} in the order {order}")
    for name, value in made.items():
        require(is_int(value) and 0 <= value <= 8, f"phase_data.declarations[{name}] is {value!r}")
    current = get(data, "current_declarer", (str, type(None)), "phase_data")
    must = order[len(made)] if len(made) < 4 else None
    require(current == must, f"phase_data.current_declarer is {current!r}, must be {must!r}")
    if "declaration_total" in data:
        require(data["declaration_total"] == sum(made.values()), f"declaration_total is {data['declaration_total']!r}")


def check_play(play, where):
    require(type(play) is dict, f"{where} is no object")
    pieces = piece_names(get(play, "pieces", list, where), where + ".pieces")
    require(1 <= len(pieces) <= 6, f"{where} has {len(pieces)} pieces")
    require(get(play, "play_type", str, where) in TYPES | {"INVALID"}, f"{where}.play_type is {play['play_type']!r}")
    get(play, "play_value", int, where)
    require(get(play, "is_valid", bool, where), f"{where}.is_valid is false")
    require(play.get("piece_count", len(pieces)) == len(pieces), f"{where}.piece_count is {play.get('piece_count')}")
    return pieces


def turn(data, players, me):
    order = texts(get(data, "turn_order", list, "phase_data"), "phase_data.turn_order")
    require(sorted(order) == sorted(players), f"phase_data.turn_order is {order}")
    starter = get(data, "current_turn_starter", str, "phase_data")
    require(starter == order[0], f"phase_data.current_turn_starter is {starter!r}, the order is {order}")
    plays = get(data, "turn_plays", dict, "phase_data")
    require(list(plays) == order[: len(plays)], f"phase_data.turn_plays of {list(plays)} in the order {order}")
    current = get(data, "current_player", str, "phase_data")
    must = order[min(len(plays), 3)]
    require(current == must, f"phase_data.current_player is {current!r}, must be {must!r}")
    required = get(data, "required_piece_count", (int, type(None)), "phase_data")
    require(1 <= get(data, "current_turn_number", int, "phase_data") <= 8, "phase_data.current_turn_number")
    by_name(players, get(data, "pile_counts", dict, "phase_data"), "phase_data.pile_counts")
    for name, piles in data["pile_counts"].items():
        require(is_int(piles) and 0 <= piles <= 8, f"phase_data.pile_counts[{name}] is {piles!r}")
    complete = optional(data, "turn_complete", bool, "phase_data")
    require(complete in (None, len(plays) == 4), f"phase_data.turn_complete is {complete} with {len(plays)} plays")
    require("winner" not in data or len(plays) == 4, "phase_data.winner with plays missing")

    count = None
    for name, play in plays.items():
        where = f"phase_data.turn_plays[{name}]"
        pieces = check_play(play, where)
        count = count or len(pieces)
        require(len(pieces) == count, f"{where} has {len(pieces)} pieces, must have {count}")
        if len(plays) == 4 or name == me:
            true_type = rules.classify(pieces)
            require(play["play_type"] == true_type, f"{where}.play_type is {play['play_type']}, must be {true_type}")
            require(name != starter or true_type != "INVALID", f"{where}: the starter's play is INVALID")
            continue
        # Face down, and not the receiver's own: only the count, and of the starter's the type.
        require(play["pieces"] == [MASK] * count, f"{where} lies face down and shows {play['pieces']}")
        require(play["play_value"] == 0, f"{where} lies face down and shows play_value {play['play_value']}")
        if name == starter:
            require(play["play_type"] in TYPES, f"{where}: the starter's play_type is {play['play_type']}")
        else:
            must = "SINGLE" if count == 1 else "INVALID"
            require(play["play_type"] == must, f"{where} lies face down and shows play_type {play['play_type']}")
    require(required == count, f"phase_data.required_piece_count is {required!r}, must be {count!r}")


def scoring(data, players):
    scores = get(data, "round_scores", dict, "phase_data")
    by_name(players, scores, "phase_data.round_scores")
    for name, score in scores.items():
        where = f"phase_data.round_scores[{name}]"
        require(type(score) is dict, f"{where} is no object")
        d, c, m = (get(score, key, int, where) for key in ("declared", "actual", "multiplier"))
        base = rules.round_score(d, c, 1)
        must = {
            "base_score": base, "bonus": (5 if d else 3) if d == c else 0, "hit_value": base - ((5 if d else 3) if d == c else 0),
            "final_score": base * m,
        }
        for key, value in must.items():
            require(get(score, key, int, where) == value, f"{where}.{key} is {score[key]}, must be {value}")
        get(score, "total_score", int, where)
        require(m == get(data, "redeal_multiplier", int, "phase_data"), f"{where}.multiplier is not redeal_multiplier")
    totals = get(data, "total_scores", dict, "phase_data")
    by_name(players, totals, "phase_data.total_scores")
    for name, total in totals.items():
        require(total == scores[name]["total_score"], f"phase_data.total_scores[{name}] is {total!r}")
    listed = get(data, "scoring_players_data", list, "phase_data")
    require(len(listed) == 4, "phase_data.scoring_players_data must have 4 entries")
    for index, player in enumerate(listed):
        where = f"phase_data.scoring_players_data[{index}]"
        require(get(player, "name", str, where) == list(players)[index], f"{where}.name is {player['name']!r}")
        get(player, "is_bot", bool, where)
        score = scores[player["name"]]
        require(get(player, "pile_count", int, where) == score["declared"], f"{where}.pile_count is not the declared")
        require(get(player, "captured_piles", int, where) == score["actual"], f"{where}.captured_piles is not the actual")
    best = max(totals.values())
    winners = [name for name in players if totals[name] == best] if best >= rules.WINNING_TOTAL else []
    found = texts(get(data, "winners", list, "phase_data"), "phase_data.winners")
    require(sorted(found) == sorted(winners), f"phase_data.winners is {found}, must be {winners}")
    require(get(data, "game_complete", bool, "phase_data") == bool(winners), "phase_data.game_complete is wrong")


def game_over(data, players):
    rankings = get(data, "final_rankings", list, "phase_data")
    require(len(rankings) == 4, "phase_data.final_rankings must have 4 entries")
    for index, entry in enumerate(rankings):
        where = f"phase_data.final_rankings[{index}]"
        names_in(players, get(entry, "name", str, where), where + ".name")
        require(get(entry, "rank", int, where) == index + 1, f"{where}.rank is {entry['rank']}")
        for name in ("score", "turns_won", "perfect_rounds"):
            get(entry, name, int, where)
    # Equal totals keep seat order: sorting is stable.
    must = sorted(players, key=lambda name: -players[name]["score"])
    found = [entry["name"] for entry in rankings]
    require(found == must, f"phase_data.final_rankings are {found}, must be {must}")
    for entry in rankings:
        require(entry["score"] == players[entry["name"]]["score"], f"final_rankings: score of {entry['name']}")
    stats = get(data, "game_stats", dict, "phase_data")
    require(get(stats, "total_rounds", int, "game_stats") >= 1, "game_stats.total_rounds < 1")
    require(get(stats, "game_duration", str, "game_stats"), "game_stats.game_duration is empty")
    best = rankings[0]["score"]
    winners = [name for name in players if players[name]["score"] == best]
    if "winners" in data:
        require(sorted(data["winners"]) == sorted(winners), f"winners are {data['winners']}, must be {winners}")
    require(get(data, "game_id", str, "phase_data"), "phase_data.game_id is empty")
    proof = get(data, "deal_proof", dict, "phase_data")
    require(get(proof, "algorithm", str, "deal_proof") == rules.ALGORITHM, f"algorithm is {proof['algorithm']!r}")
    for name in ("server_seed", "commitment"):
        require(SECRET.fullmatch(get(proof, name, str, "deal_proof")), f"deal_proof.{name} is {proof[name]!r}")
    commitment = hashlib.sha256(bytes.fromhex(proof["server_seed"])).hexdigest()
    require(commitment == proof["commitment"], f"deal_proof.commitment is not SHA-256 of the seed, {commitment}")
    entropy = get(proof, "entropy", list, "deal_proof")
    require(len(entropy) == 4, "deal_proof.entropy must have 4 entries")
    for text in entropy:
        require(text is None or re.fullmatch("[0-9a-fA-F]{1,64}", text), f"deal_proof.entropy holds {text!r}")


def allowed_actions(phase, phase_data):
    """What somebody is asked for; nothing while all have answered, declared or played."""
    if phase == "preparation" and phase_data.get("weak_players_awaiting"):
        return ["accept_redeal", "decline_redeal"]
    if phase == "declaration" and phase_data.get("current_declarer"):
        return ["declare"]
    if phase == "turn" and len(phase_data.get("turn_plays", ())) < 4:
        return ["play"]
    return []


def phase_change(data, me):
    phase = get(data, "phase", str, "data")
    require(phase in PHASES, f"data.phase is {phase!r}")
    require(get(data, "round", int, "data") >= 1, f"data.round is {data['round']}")
    phase_data = get(data, "phase_data", dict, "data")
    if "allowed_actions" in data:
        texts(data["allowed_actions"], "data.allowed_actions")
    players = check_players(data, me)
    require(data.get("allowed_actions") in (None, allowed_actions(phase, phase_data)),
            f"data.allowed_actions are {data.get('allowed_actions')} in {phase}")
    if phase == "turn":
        turn(phase_data, players, me)
    elif phase != "turn_results":
        {
            "preparation": preparation, "round_start": round_start, "declaration": declaration, "scoring": scoring,
            "game_over": game_over,
        }[phase](phase_data, players)


def turn_complete(data, _me):
    winner = get(data, "winner", str, "data")
    play = get(data, "winning_play", dict, "data")
    get(play, "type", str, "data.winning_play")
    require(play["type"] in TYPES, f"data.winning_play.type is {play['type']!r}")
    pieces = piece_names(get(play, "pieces", list, "data.winning_play"), "data.winning_play.pieces")
    require(rules.classify(pieces) == play["type"], f"data.winning_play.type is {play['type']} for {pieces}")
    get(play, "value", int, "data.winning_play")
    require(get(play, "pilesWon", int, "data.winning_play") == len(pieces), f"pilesWon is {play['pilesWon']}")
    require(get(data, "next_starter", str, "data") == winner, "data.next_starter is not the winner")
    get(data, "all_hands_empty", bool, "data")
    require(1 <= get(data, "turn_number", int, "data") <= 8, f"data.turn_number is {data['turn_number']}")
    listed = get(data, "turn_players_data", list, "data")
    require(len(listed) == 4, "data.turn_players_data must have 4 entries")
    for index, player in enumerate(listed):
        where = f"data.turn_players_data[{index}]"
        for name, kind in (("name", str), ("captured_piles", int), ("declared", int)):
            get(player, name, kind, where)
    require(winner in [player["name"] for player in listed], f"data.winner is {winner!r}")
    piles = get(data, "player_piles", dict, "data")
    must = {player["name"]: len(pieces) if player["name"] == winner else 0 for player in listed}
    require(piles == must, f"data.player_piles is {piles}, must be {must}")


# --- The rest --------------------------------------------------------------------------------------------------------


def player_disconnected(data, _me):
    get(data, "player_name", str, "data")
    for name in ("ai_activated", "can_reconnect", "is_bot"):
        require(data.get(name, True) is True, f"data.{name} is {data.get(name)!r}")


def player_reconnected(data, _me):
    get(data, "player_name", str, "data")
    require(data.get("resumed_control", True) is True, "data.resumed_control is not true")
    require(data.get("is_bot", False) is False, "data.is_bot is not false")


def host_changed(data, _me):
    get(data, "new_host", str, "data")


def pong(data, _me):
    require("timestamp" in data, "data.timestamp is missing")


def error(data, _me):
    require(get(data, "message", str, "data"), "data.message is empty")
    optional(data, "type", str, "data")


def declare(data, _me):
    get(data, "player", str, "data")
    require(0 <= get(data, "value", int, "data") <= 8, f"data.value is {data['value']}")


def redeal_executed(data, _me):
    require(get(data, "redeal_multiplier", int, "data") > 1, "data.redeal_multiplier is not over 1")
    require("my_hand" not in data, "data.my_hand must not be sent")


def recovery_response(data, _me):
    events = get(data, "events", list, "data")
    numbers = [get(event, "sequence", int, "event") for event in events]
    require(numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True, f"the numbers are {numbers}")
    for event in events:
        kind = get(event, "type", str, "event")
        require(kind in TABLE_EVENTS, f"event of type {kind!r}")
        require(get(event, "round", int, "event") >= 1, "event.round")
        require(set(event) == {"sequence", "type", "at", "round"} | TABLE_EVENTS.get(kind, set()), f"fields of {event}")
        if kind == "turn_won":
            plays = get(event, "plays", list, "event")
            require(len({play["player"] for play in plays}) == 4, f"plays of {[play['player'] for play in plays]}")
            for play in plays:
                found = len(piece_names(play["pieces"], "event.plays.pieces"))
                require(found == event["piles"], f"{found} pieces where {event['piles']} piles were won")
        if kind == "played":
            require(1 <= get(event, "piece_count", int, "event") <= 6, f"event.piece_count is {event['piece_count']}")


TABLE_EVENTS = {
    "dealt": {"multiplier"},
    "round_started": {"starter", "starter_reason"},
    "declared": {"player", "value"},
    "played": {"player", "piece_count"},
    "turn_won": {"turn", "starter", "winner", "piles", "plays"},
    "scored": {"scores", "totals"},
    "player_left": {"player"},
    "player_returned": {"player"},
}
"""What each kind of event at a table may tell, and nothing else. Pieces are named where a turn is won, nowhere else."""


def anything(_data, _me):
    pass


EVENTS = {
    checker.__name__: checker
    for checker in (
        room_list_update, room_created, room_joined, room_update, room_state_update, room_not_found, room_closed,
        game_started, player_left, phase_change, turn_complete, player_disconnected, player_reconnected, host_changed,
        pong, error, declare, redeal_executed, recovery_response,
    )
} | {name: anything for name in ("redeal_response_success", "rate_limit_warning")}

@functools.lru_cache(maxsize=100_000)
def names_a_piece(text):
    # The reason for a starter speaks of GENERAL_RED, whose holder in round 1 is public.
    return text != "has_general_red" and A_PIECE.search(text) is not None


def without_judged(event, data):
    """The frame without the places that may name pieces. Which ones they name, the checks of the event have judged: the
    own hand, own plays, masks, and plays turned over. A piece anywhere else is a leak, however it is spelled."""
    if event == "phase_change":
        players = {name: player | {"hand": None} for name, player in data["players"].items()}
        phase_data = data["phase_data"]
        if data["phase"] == "turn":
            plays = {name: play | {"pieces": None} for name, play in phase_data["turn_plays"].items()}
            phase_data = phase_data | {"turn_plays": plays}
        return data | {"players": players, "phase_data": phase_data}
    if event == "recovery_response":
        events = [event | {"plays": None} if event["type"] == "turn_won" else event for event in data["events"]]
        return data | {"events": events}
    if event == "turn_complete":
        return data | {"winning_play": data["winning_play"] | {"pieces": None}, "turn_resolution": None}
    return data


def check_hiding(event, data, commitment):
    """Nothing in the frame names a piece where none may be named, and no text in it is the server's secret before the
    game is over."""
    is_over = event == "phase_change" and data["phase"] == "game_over"
    stack = [without_judged(event, data)]
    while stack:
        value = stack.pop()
        if type(value) is dict:
            stack.extend(value)
            stack.extend(value.values())
        elif type(value) is list:
            stack.extend(value)
        elif type(value) is str:
            require(not names_a_piece(value), f"a piece is named where none may be: {value!r}")
            if commitment and not is_over and len(value) >= 64:
                for secret in SECRET.findall(value):
                    found = hashlib.sha256(bytes.fromhex(secret)).hexdigest()
                    require(found != commitment, f"the server's secret is told before the end of the game: {value!r}")


def check(text, me, commitment=None):
    """Checks one text frame for the receiver `me` (None: no seat); returns event and data. Raises `Violation`."""
    require(type(text) is str, "a binary frame")
    try:
        frame = json.loads(text)
    except ValueError as fault:
        raise Violation(f"no JSON: {fault}") from None
    require(type(frame) is dict, "no JSON object")
    require("sequence" not in frame, "a top-level sequence")
    event = get(frame, "event", str, "frame")
    data = get(frame, "data", dict, "frame")
    require(event in EVENTS, f"unknown event {event!r}")
    EVENTS[event](data, me)
    check_hiding(event, data, commitment)
    return event, data
