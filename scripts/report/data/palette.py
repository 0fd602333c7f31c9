"""Colours of the report."""

INK, MUTED = "#1c2733", "#5c6b7a"  # of text

# Okabe and Ito: told apart also by people with colour blindness.
ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#D9C700",  # their yellow, darker: it must show on white
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
BLACK, GREY, LIGHT_GREY = "#222222", "#8a8f94", "#c3c8cd"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY, YELLOW, GREY, "#6a51a3", "#00525e")
# Policies without a colour of their own.
OTHERS = ("#6a51a3", "#00525e", "#9e6b00", "#7f2704", "#54278f", "#4d9221")


def faint(colour: str, opacity: float) -> str:
    """Return a colour with opacity, for bands."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
