"""Frames: size, what they say, what they must not show, and that nothing is left behind."""

import builtins
import gc
import importlib
import re
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled

from gridai_env.envs.simulator import Simulator
from gridai_env.episodes.instance import Instance, make_instance, stack
from gridai_env.render import Renderer
from gridai_env.render import style as look
from gridai_env.render.arrows import build_arrows, outline
from gridai_env.render.coastline import land, water
from gridai_env.render.labels import place_labels
from gridai_env.render.ledger_bars import largest_terms
from gridai_env.render.map import MOST_ARROWS, NOTE_BOX
from gridai_env.render.map_crop import crop_to
from gridai_env.render.moment import look as look_at
from gridai_env.scenario.load import load_scenario, parse_scenario, scenario_names
from gridai_env.traces.weather import sun_height
from gridai_env.world.state import Flows, Outcome, State
from gridai_env.world.terms import BILL

Moment = tuple[int, State, Flows | None, Outcome | None, dict[str, float]]


def play(instance: Instance, seed: int = 0) -> Iterator[Moment]:
    """Every moment of an episode under random actions, in the form that a frame takes."""
    simulator, rng = Simulator(stack([instance])), np.random.default_rng(seed)
    totals: dict[str, float] = {}
    yield 0, simulator.state.map(lambda x: x[0]), None, None, totals
    for t in range(instance.steps):
        arrived = float(simulator.exogenous.arrivals_gpuh.sum())
        batch_flows, batch = simulator.step(rng.uniform(-1.0, 1.0, (1, simulator.layout.size)))
        flows = batch_flows.map(lambda x: x[0])
        arrays = {name: getattr(batch, name)[0] for name in Outcome.names() if name != "terms_usd"}
        outcome = Outcome(terms_usd={name: usd[0] for name, usd in batch.terms_usd.items()}, **arrays)
        marginal = instance.params.bill_marginal
        emitted_kg = outcome.emissions_marginal_kg if marginal else outcome.emissions_average_kg
        step = {f"terms/{name}_usd": float(usd) for name, usd in outcome.terms_usd.items()} | {
            "benefit_usd": float(outcome.benefit_usd),
            "bill_usd": -sum(float(outcome.terms_usd[name]) for name in BILL),
            "emissions_kg": float(emitted_kg),
            "served_gpuh": float(flows.served_gpuh.sum()),
            "dropped_gpuh": float(flows.dropped_gpuh.sum()),
            "arrived_gpuh": arrived,
        }
        totals = {key: totals.get(key, 0.0) + value for key, value in step.items()}
        yield t + 1, simulator.state.map(lambda x: x[0]), flows, outcome, totals


def moment(instance: Instance, t: int) -> Moment:
    """The moment after ``t`` steps."""
    return next(m for m in play(instance) if m[0] == t)


def texts(renderer: Renderer) -> list[str]:
    """Every text on the figure."""
    from matplotlib.text import Text

    return [artist.get_text() for artist in renderer.figure.findobj(Text) if artist.get_text()]


def check_texts_keep_apart(renderer: Renderer) -> None:
    """Measured with the fonts: cards hold their text, and elsewhere no text touches another."""
    pixels = renderer.canvas.get_renderer()
    for text in (t for t in renderer.map_axes.texts if t.get_zorder() == 8):
        box = text.get_window_extent(pixels).translated(-look.MAP_BOX[0], -look.MAP_BOX[1])
        cards = renderer.chart.cards.boxes
        assert any(c[0] < box.x0 and box.x1 < c[2] and c[1] < box.y0 and box.y1 < c[3] for c in cards), text
    for axes in (renderer.side_axes, renderer.legend_axes, renderer.header_axes):
        boxes = [text.get_window_extent(pixels) for text in axes.texts]
        for one, other in combinations(range(len(boxes)), 2):
            assert not boxes[one].overlaps(boxes[other]), (axes.texts[one], axes.texts[other])


@pytest.fixture(scope="module")
def two_sites() -> Instance:
    return make_instance("two_sites", seed=3)


@pytest.mark.parametrize("name", scenario_names())
def test_a_frame_is_a_picture_names_every_site_and_its_cards_keep_apart(name: str) -> None:
    instance = make_instance(name, seed=1)
    renderer = Renderer(instance.compiled)
    check_cards_keep_apart(renderer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = renderer.frame(instance, *moment(instance, 5))
    assert frame.shape == (720, 1280, 3)
    assert frame.dtype == np.uint8
    assert frame.flags.owndata
    assert len(np.unique(frame @ np.array([1 << 16, 1 << 8, 1]))) > 500  # colours
    written = texts(renderer)
    for k, site in enumerate(instance.compiled.site_names):
        # once on the map, once in the table, and at each of its lines
        lines = sum(rule.site == k for rule in instance.compiled.lines.rules)
        assert written.count(site) == 2 + lines, site
    assert name in written
    assert any(text.startswith(f"step 5 / {instance.steps}") for text in written)
    check_texts_keep_apart(renderer)


def test_frames_differ_between_steps_and_repeat_exactly(two_sites: Instance) -> None:
    renderer, other = Renderer(two_sites.compiled), Renderer(two_sites.compiled)
    moments = list(play(two_sites))[::6]
    frames = [renderer.frame(two_sites, *m) for m in moments]
    for before, after in pairwise(frames):
        assert (before != after).any()
    # What was drawn before leaves no trace: fresh or going back, a renderer gives the same pixels.
    np.testing.assert_array_equal(other.frame(two_sites, *moments[3]), frames[3])
    np.testing.assert_array_equal(renderer.frame(two_sites, *moments[0]), frames[0])


def test_a_frame_is_not_changed_by_the_next(two_sites: Instance) -> None:
    renderer = Renderer(two_sites.compiled)
    first = renderer.frame(two_sites, *moment(two_sites, 2))
    kept = first.copy()
    renderer.frame(two_sites, *moment(two_sites, 20))
    np.testing.assert_array_equal(first, kept)


def test_before_the_first_step_there_is_no_load_yet(two_sites: Instance) -> None:
    renderer = Renderer(two_sites.compiled)
    frame = renderer.frame(two_sites, *moment(two_sites, 0))
    assert frame.shape == (720, 1280, 3)
    assert "– MW" in texts(renderer)
    assert f"step 0 / {two_sites.steps}   seed 3" in texts(renderer)


def test_after_a_restored_state_the_flows_may_be_unknown(two_sites: Instance) -> None:
    t, state, _, _, totals = moment(two_sites, 4)
    renderer = Renderer(two_sites.compiled)
    renderer.frame(two_sites, t, state, None, None, totals)
    written = texts(renderer)
    assert "– MW" in written
    assert look.compact_number(totals["benefit_usd"], 4) in written


def test_the_future_is_not_drawn(two_sites: Instance) -> None:
    """Whatever comes after the step shown, the picture is the same."""
    t, state, flows, outcome, totals = moment(two_sites, 6)
    exo = two_sites.exogenous

    def scrambled(array: np.ndarray) -> np.ndarray:
        changed = np.array(array, dtype=float)
        changed[t:] = 7.0 * changed[t:] + 1000.0
        return changed

    other = replace(two_sites, exogenous=exo.map(scrambled))
    renderer = Renderer(two_sites.compiled)
    expected = renderer.frame(two_sites, t, state, flows, outcome, totals)
    np.testing.assert_array_equal(renderer.frame(other, t, state, flows, outcome, totals), expected)


def test_the_numbers_written_are_those_of_the_records() -> None:
    instance = make_instance("microgrid_prosumer", seed=2)
    t, state, flows, outcome, totals = moment(instance, 10)
    assert flows is not None and outcome is not None
    renderer = Renderer(instance.compiled)
    renderer.frame(instance, t, state, flows, outcome, totals)
    written = texts(renderer)
    for k in range(instance.compiled.shape.sites):
        assert f"{look.compact_number(outcome.facility_mw[k])} MW" in written
        price = look.compact_number(instance.exogenous.buy_usd_per_mwh[t - 1, k])
        assert any(text.startswith(f"{price} USD/MWh") for text in written)
        for name in ("import_mw", "export_mw", "generation_mw", "renewable_mw", "shed_mw"):
            assert look.compact_number(getattr(flows, name)[k]) in written
    for key in ("benefit_usd", "bill_usd"):
        assert look.compact_number(totals[key], 4) in written
    assert look.compact_number(totals["emissions_kg"] / 1e3, 4) in written
    started = round(instance.compiled.shape.jobs - state.waiting.sum())
    assert f"{started} / {instance.compiled.shape.jobs}" in written


def test_the_arrows_carry_what_is_served_elsewhere() -> None:
    instance = make_instance("four_markets", seed=0)
    t, state, flows, outcome, totals = moment(instance, 3)
    assert flows is not None
    view = look_at(instance, t, state, flows, outcome, totals)
    np.testing.assert_allclose(view.sent_gpuh.sum(0), flows.served_gpuh.sum(1))
    places = np.array([[s.longitude, s.latitude] for s in instance.scenario.sites]) * 10.0
    arrows = build_arrows(view.sent_gpuh, places, places, np.full(4, 8.0), full_gpuh=1.0)
    away = flows.served_gpuh.sum(1) * (1.0 - instance.params.home)
    assert sum(arrow.gpuh for arrow in arrows) == pytest.approx(away.sum(), rel=1e-3)
    assert all(np.isfinite(outline(arrow)).all() for arrow in arrows)


def test_of_many_flows_the_largest_are_drawn_and_the_picture_says_so() -> None:
    from matplotlib.collections import PolyCollection

    def drawn(name: str) -> tuple[int, list[str], Renderer]:
        instance = make_instance(name, seed=1)
        renderer = Renderer(instance.compiled)
        renderer.frame(instance, *moment(instance, 5))
        flows = [a for a in renderer.map_axes.findobj(PolyCollection) if a.get_zorder() == 3]
        written = [text for text in texts(renderer) if "largest of" in text]
        return sum(len(a.get_paths()) for a in flows), written, renderer

    count, written, renderer = drawn("global")
    assert count == MOST_ARROWS
    assert len(written) == 1
    total = re.fullmatch(rf"the {MOST_ARROWS} largest of (\d+) flows", written[0])
    assert total is not None and int(total[1]) > MOST_ARROWS
    note = next(text for text in renderer.map_axes.texts if text.get_text() == written[0])
    box = note.get_window_extent(renderer.canvas.get_renderer())
    corner = np.array(look.MAP_BOX[:2] * 2) + NOTE_BOX
    assert corner[0] <= box.x0 and box.x1 <= corner[2] and corner[1] <= box.y0 and box.y1 <= corner[3]
    for card in renderer.chart.cards.boxes:
        assert min(card[2], NOTE_BOX[2]) <= max(card[0], NOTE_BOX[0]) or card[1] >= NOTE_BOX[3]
    count, written, _ = drawn("four_markets")
    assert 0 < count <= MOST_ARROWS
    assert not written


def test_nothing_is_left_behind(two_sites: Instance) -> None:
    pyplot = importlib.import_module("matplotlib.pyplot")
    renderer = Renderer(two_sites.compiled)
    counts = []
    for m in list(play(two_sites))[3:6]:
        renderer.frame(two_sites, *m)
        counts.append(len(renderer.figure.axes))
    assert len(set(counts)) == 1
    assert pyplot.get_fignums() == []
    figure = weakref.ref(renderer.figure)
    del renderer
    gc.collect()
    assert figure() is None


def test_the_users_settings_do_not_matter(two_sites: Instance) -> None:
    import matplotlib

    here = moment(two_sites, 4)
    expected = Renderer(two_sites.compiled).frame(two_sites, *here)
    with matplotlib.rc_context({"font.family": "serif", "axes.grid": True, "axes.facecolor": "red"}):
        np.testing.assert_array_equal(Renderer(two_sites.compiled).frame(two_sites, *here), expected)
        assert matplotlib.rcParams["axes.facecolor"] == "red"


def test_without_matplotlib_the_extra_is_named(two_sites: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DependencyNotInstalled, match=r"pip install .*\[render\]"):
        Renderer(two_sites.compiled)


def test_records_that_do_not_fit_are_refused(two_sites: Instance) -> None:
    renderer = Renderer(two_sites.compiled)
    t, state, flows, outcome, totals = moment(two_sites, 2)
    with pytest.raises(ValueError, match=r"number of steps done, 0\.\.24"):
        renderer.frame(two_sites, 25, state, flows, outcome, totals)
    with pytest.raises(ValueError, match="none at t = 0"):
        renderer.frame(two_sites, 0, state, flows, outcome, totals)
    with pytest.raises(ValueError, match="or neither"):
        renderer.frame(two_sites, t, state, flows, None, totals)
    with pytest.raises(KeyError, match="bill_usd"):
        lacking = {key: value for key, value in totals.items() if key != "bill_usd"}
        renderer.frame(two_sites, t, state, flows, outcome, lacking)
    with pytest.raises(ValueError, match="this renderer draws 'two_sites'"):
        renderer.frame(make_instance("four_markets"), t, state, flows, outcome, totals)


def check_cards_keep_apart(renderer: Renderer) -> None:
    """Cards lie on the map and overlap neither each other nor a marker."""
    boxes = np.array(renderer.chart.cards.boxes)
    markers = np.array(renderer.chart.fixed)[: len(boxes)]
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= look.MAP_BOX[2:]).all()
    for i, box in enumerate(boxes):
        others = np.concatenate([np.delete(boxes, i, axis=0), markers])
        low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
        assert ((high - low).min(axis=1) <= 0).all(), renderer.compiled.site_names[i]


def test_crowded_sites_with_long_names_stay_readable() -> None:
    """Six sites in one corner of Europe, regions elsewhere, names as long as they may be."""
    base = load_scenario("energy_geography").model_dump(mode="json")
    places = [(52.4, 4.9), (51.5, -0.2), (48.9, 2.4), (50.1, 8.7), (47.4, 8.5), (53.3, -6.3)]
    sites, regions = base["sites"][: len(places)], base["regions"][: len(places)]
    for i, (latitude, longitude) in enumerate(places):
        sites[i] |= {"name": f"a site with a name of many letters no {i}", "legal_zone": "EU"}
        sites[i] |= {"latitude": latitude, "longitude": longitude}
        sites[i]["battery"] = {"capacity_mwh": 10.0, "power_mw": 5.0} if i % 2 else None
        regions[i] |= {"home": sites[i]["name"], "latitude": latitude - 2.0, "longitude": longitude + 1.0}
    scenario = parse_scenario(
        base | {"name": "a corner of Europe", "sites": sites, "regions": regions}, "test"
    )
    instance = make_instance(scenario, seed=0)
    renderer = Renderer(instance.compiled)
    renderer.frame(instance, *moment(instance, 5))
    check_texts_keep_apart(renderer)
    check_cards_keep_apart(renderer)
    assert set(instance.compiled.region_names) <= set(texts(renderer))


def test_labels_are_placed_even_where_there_is_no_room() -> None:
    anchors = np.full((3, 2), 20.0)
    boxes = place_labels(anchors, [(200.0, 100.0)] * 3, [], np.empty((0, 2)), 60.0, 40.0)
    assert len(boxes) == 3


@pytest.mark.parametrize(
    "points", [[[8.6, 50.1]], [[0.0, 0.0], [170.0, 0.0]], [[-122.0, -60.0], [151.0, 80.0]], [[10.0, 85.0]]]
)
def test_the_crop_shows_all_places(points: list[list[float]]) -> None:
    crop = crop_to(np.array(points), 796.0, 450.0)
    pixels = crop.pixels(np.array(points))
    assert (pixels >= 0).all() and (pixels <= [796.0, 450.0]).all()
    assert crop.north <= 90.0 and crop.south >= -90.0


def _is_inside(point: tuple[float, float], polygon: np.ndarray) -> bool:
    """Ray casting."""
    x, y = point
    ends = np.roll(polygon, -1, axis=0)
    crosses = (polygon[:, 1] > y) != (ends[:, 1] > y)
    start, end = polygon[crosses], ends[crosses]
    at = start[:, 0] + (y - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
    return bool((at > x).sum() % 2)


@pytest.mark.parametrize("name", scenario_names())
def test_sites_stand_on_land(name: str) -> None:
    for site in load_scenario(name).sites:
        place = (site.longitude, site.latitude)
        assert any(_is_inside(place, shape) for shape in land()), site.name
        assert not any(_is_inside(place, shape) for shape in water()), site.name


def test_outlines_are_on_the_globe() -> None:
    for shape in (*land(), *water()):
        assert len(shape) >= 3
        assert (np.abs(shape) <= [190.1, 90.0]).all()


@pytest.mark.parametrize(
    ("when", "longitude", "latitude", "sign"),
    [
        (datetime(2023, 6, 21, 12), 0.0, 51.5, 1.0),
        (datetime(2023, 6, 21, 0), 0.0, 51.5, -1.0),
        (datetime(2023, 6, 21, 0), 0.0, 75.0, 1.0),  # midnight sun
        (datetime(2023, 12, 21, 12), 0.0, 75.0, -1.0),  # polar night
        (datetime(2023, 3, 21, 20), -120.0, 0.0, 1.0),  # noon in the west
    ],
)
def test_the_sun_is_up_by_day(when: datetime, longitude: float, latitude: float, sign: float) -> None:
    minute = np.array(when, dtype="datetime64[m]").astype(np.int64)
    assert sign * sun_height(latitude, longitude, minute) > 0.05


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.001, "0"),
        (0.056, "0.06"),
        (9.999, "10.00"),
        (42.04, "42.0"),
        (-123.4, "−123"),
        (9999.0, "9999"),
        (12345.0, "12.3k"),
        (999_600.0, "1.00M"),
        (-2.5e9, "−2.50G"),
        (float("nan"), "–"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert look.compact_number(value) == text


def test_the_ledger_keeps_the_sum() -> None:
    terms = {"revenue": 100.0, "import": -70.0, "fuel": -3.0, "egress": -2.0, "water": -1.0}
    shown = largest_terms(terms, 3)
    assert [name for name, _ in shown] == ["revenue", "import", "3 smaller terms"]
    assert sum(usd for _, usd in shown) == pytest.approx(sum(terms.values()))
    assert largest_terms(terms, 5) == sorted(terms.items(), key=lambda item: -abs(item[1]))
