"""Who buys at Alder & Fjord Outfitters, and what it sells: the fixed part of the seed."""

from typing import NamedTuple

from smart_support.demo.records import Currency

SHOP = "Alder & Fjord Outfitters"


class Person(NamedTuple):
    """A customer before the shop opens."""

    key: str
    name: str
    street: str
    city: str
    postal_code: str
    country: str
    currency: Currency


class Article(NamedTuple):
    """A product before the shop opens; its price in minor units."""

    sku: str
    name: str
    category: str
    price: int
    in_stock: int
    description: str


PEOPLE = (
    Person("ada", "Ada Quist", "Lindenweg 4", "Kiel", "24103", "DE", "EUR"),
    Person("bruno", "Bruno Halvard", "Hafenstraße 18", "Rostock", "18055", "DE", "EUR"),
    Person("carys", "Carys Penrose", "9 Quarry Lane", "Truro", "TR1 2LP", "GB", "GBP"),
    Person("dmitri", "Dmitri Olander", "Nygatan 31", "Umeå", "903 27", "SE", "EUR"),
    Person("elif", "Elif Marwick", "27 Harbour Row", "Leith", "EH6 6QW", "GB", "GBP"),
    Person("farah", "Farah Dunmore", "410 Cedar Ridge Rd", "Bend", "97701", "US", "USD"),
    Person("gustavo", "Gustavo Lindqvist", "Calle del Faro 7", "Gijón", "33201", "ES", "EUR"),
    Person("hana", "Hana Vesely", "Podhradí 12", "Liberec", "460 01", "CZ", "EUR"),
    Person("idris", "Idris Calloway", "88 Juniper Street", "Asheville", "28801", "US", "USD"),
    Person("jolanda", "Jolanda Brix", "Bergstraat 55", "Utrecht", "3511 AB", "NL", "EUR"),
    Person("kofi", "Kofi Amberley", "3 Fell View", "Keswick", "CA12 5DQ", "GB", "GBP"),
    Person("lotte", "Lotte Sandvik", "Strandvejen 140", "Aarhus", "8000", "DK", "EUR"),
    Person("mateo", "Mateo Ferring", "1207 Alpine Ave", "Boulder", "80304", "US", "USD"),
    Person("nadia", "Nadia Oakhurst", "Rue des Tilleuls 16", "Annecy", "74000", "FR", "EUR"),
)

ARTICLES = (
    Article("TENT-2P", "Heron two-person tent", "tents", 24900, 14, "Free-standing, 2.1 kg."),
    Article("TENT-4P", "Heron four-person tent", "tents", 38900, 5, "Room to stand, 5.4 kg."),
    Article("TARP-3X3", "Ridge tarp 3 x 3 m", "tents", 7900, 32, "With eight guy lines."),
    Article("BAG-DOWN", "Eider down sleeping bag", "sleeping", 21900, 9, "Comfort to -4 °C."),
    Article("BAG-LITE", "Moss summer sleeping bag", "sleeping", 8900, 40, "Comfort to 10 °C."),
    Article("MAT-AIR", "Drift air mat", "sleeping", 9900, 27, "Packs to the size of a bottle."),
    Article("PACK-35", "Scree 35 l backpack", "packs", 12900, 18, "For long days."),
    Article("PACK-60", "Scree 60 l backpack", "packs", 18900, 0, "For long weeks."),
    Article("BOOT-MID", "Tarn mid hiking boot", "footwear", 16900, 22, "Waterproof leather."),
    Article("SHOE-TRAIL", "Fell trail shoe", "footwear", 11900, 35, "Grip on wet rock."),
    Article("SOCK-WOOL", "Wool hiking socks", "footwear", 1900, 210, "Pair, merino."),
    Article("JKT-RAIN", "Squall rain jacket", "clothing", 17900, 16, "Three layers, 340 g."),
    Article("JKT-DOWN", "Eider down jacket", "clothing", 19900, 11, "Packs into its pocket."),
    Article("HAT-WOOL", "Harbour wool hat", "clothing", 2900, 95, "Knitted in one piece."),
    Article("STOVE-GAS", "Ember gas stove", "cooking", 5900, 44, "Boils a litre in 3.5 min."),
    Article("POT-SET", "Ember pot set", "cooking", 4900, 31, "Two pots and a lid."),
    Article("LAMP-HEAD", "Firefly head lamp", "light", 3900, 73, "350 lumens, USB-C."),
    Article("BOTTLE-1L", "Steel bottle 1 l", "cooking", 2400, 120, "Keeps tea hot for a day."),
)
