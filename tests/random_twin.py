"""The twin of pingraph.samplers.randomness in whole numbers without bounds."""

SPLITMIX = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
WORD = 2**64 - 1


def word(key, index):
    stride, first, second = SPLITMIX
    value = (key + stride * (index + 1)) & WORD
    value = (value ^ value >> 30) * first & WORD
    value = (value ^ value >> 27) * second & WORD
    return value ^ value >> 31


def choose(items, word):
    product = word * len(items)
    return items[product >> 64], product & WORD
