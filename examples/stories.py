"""The word problems of the sample: each story is a text with holes, the ranges of its numbers, and its solution.

A step of a solution is what it finds and how: ("the number of bags", "bags = cookies / per_bag"). The last step finds
the answer. Numbers are drawn until every value is a whole number above 0.
"""

from __future__ import annotations

from typing import NamedTuple


class Story(NamedTuple):
    """A word problem before its numbers are drawn."""

    question: str
    ranges: dict[str, tuple[int, int]]  # name -> lowest and highest value
    steps: tuple[tuple[str, str], ...]  # (what it finds, "name = name operator name or number")


NAMES = ("Amara", "Bjorn", "Chidi", "Dalia", "Emre", "Farah", "Goran", "Hana", "Ivo", "Jun", "Kamala", "Lucia", "Mateo")
NAMES += ("Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Samir", "Tala", "Uma", "Viktor", "Wanda", "Ximena", "Yusuf")

STORIES = (
    Story(
        "{name} buys {packs} packs of pencils with {each} pencils in each pack and gives {gone} pencils to the class. "
        "How many pencils are left?",
        {"packs": (3, 9), "each": (8, 24), "gone": (10, 60)},
        (("the number of pencils bought", "pencils = packs * each"), ("the number left", "left = pencils - gone")),
    ),
    Story(
        "A hall has {rows} rows of {seats} seats. For tonight's concert {sold} seats are sold. "
        "How many seats are empty?",
        {"rows": (12, 40), "seats": (14, 36), "sold": (100, 900)},
        (
            ("the number of seats in the hall", "all = rows * seats"),
            ("the number of empty seats", "empty = all - sold"),
        ),
    ),
    Story(
        "{name} walks {there} meters to school and the same way back, on {days} days of the week. "
        "How many meters does {name} walk in that week?",
        {"there": (250, 1900), "days": (3, 5)},
        (("the distance of one day", "day = there * 2"), ("the distance of the week", "week = day * days")),
    ),
    Story(
        "A jug holds {jug} milliliters of juice. {name} fills {glasses} glasses of {glass} milliliters from it. "
        "How many milliliters stay in the jug?",
        {"jug": (1500, 3000), "glasses": (3, 8), "glass": (150, 300)},
        (("the juice in the glasses", "poured = glasses * glass"), ("the juice that stays", "stays = jug - poured")),
    ),
    Story(
        "{name} bakes {trays} trays of {each} cookies and packs them in bags of {per_bag}. "
        "Each bag sells for ${price}. How many dollars do all the bags bring in?",
        {"trays": (4, 12), "each": (12, 30), "per_bag": (4, 9), "price": (3, 8)},
        (
            ("the number of cookies", "cookies = trays * each"),
            ("the number of bags", "bags = cookies / per_bag"),
            ("the money from the bags", "money = bags * price"),
        ),
    ),
    Story(
        "{name} earns ${wage} an hour and works {hours} hours a week. "
        "After {weeks} weeks, {name} has spent ${spent}. How many dollars are left?",
        {"wage": (11, 28), "hours": (12, 38), "weeks": (3, 8), "spent": (400, 2500)},
        (
            ("the pay of one week", "pay = wage * hours"),
            ("the pay of all weeks", "total = pay * weeks"),
            ("the money left", "left = total - spent"),
        ),
    ),
    Story(
        "A farm has {hens} hens that lay {eggs} eggs each per week. The farm keeps {kept} eggs and packs the others in "
        "boxes of {box}. How many boxes does it fill in a week?",
        {"hens": (18, 60), "eggs": (4, 7), "kept": (10, 60), "box": (6, 12)},
        (
            ("the number of eggs in a week", "laid = hens * eggs"),
            ("the number of eggs to pack", "packed = laid - kept"),
            ("the number of boxes", "boxes = packed / box"),
        ),
    ),
    Story(
        "A train has {cars} cars with {seats} seats each. {first} people get on at the first stop and {second} at the "
        "second, and nobody gets off. How many seats are still free?",
        {"cars": (6, 14), "seats": (48, 88), "first": (80, 320), "second": (60, 280)},
        (
            ("the number of seats", "all = cars * seats"),
            ("the number of people on the train", "people = first + second"),
            ("the number of free seats", "free = all - people"),
        ),
    ),
    Story(
        "A book has {pages} pages. {name} reads {daily} pages a day for {days} days and then wants to finish the book "
        "in {rest} days. How many pages a day must {name} read from then on?",
        {"pages": (240, 640), "daily": (12, 35), "days": (4, 9), "rest": (4, 12)},
        (
            ("the number of pages read so far", "done = daily * days"),
            ("the number of pages to go", "open = pages - done"),
            ("the number of pages a day", "pace = open / rest"),
        ),
    ),
    Story(
        "{name} rents a van for ${fee} plus ${rate} for each mile, drives {miles} miles, and shares the bill evenly "
        "among {friends} people. How many dollars does each of them pay?",
        {"fee": (40, 120), "rate": (2, 5), "miles": (40, 180), "friends": (3, 6)},
        (
            ("the charge for the miles", "charge = rate * miles"),
            ("the whole bill", "bill = fee + charge"),
            ("the share of each", "share = bill / friends"),
        ),
    ),
    Story(
        "A bakery sells {morning} rolls in the morning and {times} times as many in the afternoon. A roll costs "
        "{cents} cents to make and sells for {price} cents. What is the profit of the day in cents?",
        {"morning": (40, 120), "times": (2, 4), "cents": (18, 40), "price": (55, 95)},
        (
            ("the number of rolls in the afternoon", "afternoon = morning * times"),
            ("the number of rolls of the day", "rolls = morning + afternoon"),
            ("the profit on one roll", "margin = price - cents"),
            ("the profit of the day", "profit = rolls * margin"),
        ),
    ),
    Story(
        "{name} saves ${saved} a month for {months} months, gets ${gift} from an aunt, and buys {tickets} tickets at "
        "${ticket} each. How many dollars does {name} have then?",
        {"saved": (35, 90), "months": (5, 11), "gift": (50, 200), "tickets": (3, 7), "ticket": (18, 45)},
        (
            ("the money saved", "savings = saved * months"),
            ("the money with the gift", "purse = savings + gift"),
            ("the price of the tickets", "cost = tickets * ticket"),
            ("the money that remains", "rest = purse - cost"),
        ),
    ),
    Story(
        "A garden is {length} meters long and {width} meters wide. A path takes {path} square meters of it, and the "
        "rest is planted with {density} tulips to the square meter. A bag holds {bag} bulbs. How many bags are needed?",
        {"length": (12, 30), "width": (8, 20), "path": (20, 90), "density": (6, 12), "bag": (15, 40)},
        (
            ("the area of the garden", "area = length * width"),
            ("the area for tulips", "bed = area - path"),
            ("the number of tulips", "tulips = bed * density"),
            ("the number of bags", "bags = tulips / bag"),
        ),
    ),
    Story(
        "A tank holds {tank} liters. A pump brings in {inflow} liters a minute while {leak} liters a minute leak out. "
        "There are {start} liters in it already. How many minutes does it take to fill the tank?",
        {"tank": (600, 2400), "inflow": (25, 60), "leak": (3, 15), "start": (50, 400)},
        (
            ("the room left in the tank", "room = tank - start"),
            ("the gain in one minute", "gain = inflow - leak"),
            ("the number of minutes", "minutes = room / gain"),
        ),
    ),
    Story(
        "{name} plants {rows} rows of {plants} tomato plants. {lost} plants die, and each of the others bears {fruit} "
        "tomatoes. {name} keeps {kept} tomatoes and sells the rest in crates of {crate} for ${price} a crate. "
        "How many dollars does {name} take in?",
        {"rows": (4, 9), "plants": (8, 20), "lost": (3, 15), "fruit": (12, 30), "kept": (20, 90)}
        | {"crate": (20, 40), "price": (9, 18)},
        (
            ("the number of plants set", "set = rows * plants"),
            ("the number of plants that live", "alive = set - lost"),
            ("the number of tomatoes", "tomatoes = alive * fruit"),
            ("the number of tomatoes for sale", "sale = tomatoes - kept"),
            ("the number of crates", "crates = sale / crate"),
            ("the money taken in", "money = crates * price"),
        ),
    ),
    Story(
        "A school trip takes {students} students and {adults} adults. A bus carries {bus} people and costs ${hire}. "
        "A museum ticket costs ${ticket} for everybody. How many dollars does the whole trip cost?",
        {"students": (80, 220), "adults": (8, 30), "bus": (30, 60), "hire": (250, 600), "ticket": (6, 14)},
        (
            ("the number of people", "people = students + adults"),
            ("the number of buses", "buses = people / bus"),
            ("the price of the buses", "ride = buses * hire"),
            ("the price of the tickets", "entry = people * ticket"),
            ("the price of the trip", "trip = ride + entry"),
        ),
    ),
    Story(
        "A phone shop buys {phones} phones at ${cost} each and sells {sold} of them at ${price} each. The others go "
        "for ${cheap} each. What is the shop's profit in dollars?",
        {"phones": (20, 60), "cost": (120, 240), "sold": (8, 40), "price": (260, 420), "cheap": (90, 200)},
        (
            ("the price of all phones", "spent = phones * cost"),
            ("the money from the first phones", "first = sold * price"),
            ("the number of other phones", "others = phones - sold"),
            ("the money from the others", "second = others * cheap"),
            ("the money from all", "earned = first + second"),
            ("the profit", "profit = earned - spent"),
        ),
    ),
)
