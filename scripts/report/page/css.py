"""The page's style sheet: a technical report on paper, with a table of contents beside it where there is room."""

from __future__ import annotations

CSS = """
:root { --ink: #1c2733; --muted: #5c6b7a; --line: #dfe4e9; --accent: #0b5c94; --soft: #f5f7f9; --warn: #8a4b00; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
body { margin: 0; color: var(--ink); background: #fff; line-height: 1.55; font-size: 16px;
  font-family: system-ui, -apple-system, "Segoe UI", "Liberation Sans", Roboto, Helvetica, Arial, sans-serif; }
a { color: var(--accent); }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 1rem; top: 1rem; background: #fff; padding: .5rem 1rem; z-index: 10; }
:focus-visible { outline: 3px solid #56b4e9; outline-offset: 2px; }
header.top { background: #17324a; color: #fff; padding: 2.2rem 1.5rem 1.9rem; }
header.top > div, .frame { max-width: 1280px; margin: 0 auto; }
header.top h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .4rem; font-weight: 650; letter-spacing: -.01em; }
header.top p { margin: 0; max-width: 75ch; color: #d3e0ea; }
ul.facts { list-style: none; margin: .9rem 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.4rem;
  font-size: .85rem; color: #d3e0ea; }
.frame { display: grid; grid-template-columns: 216px minmax(0, 1fr); gap: 2.5rem; padding: 1.5rem; }
nav.contents { position: sticky; top: 1.2rem; align-self: start; font-size: .875rem; max-height: calc(100vh - 2.4rem);
  overflow-y: auto; }
nav.contents ol { list-style: none; margin: 0; padding: 0; }
nav.contents li li a { padding-left: 1.5rem; color: var(--muted); font-size: .83rem; }
nav.contents a { display: block; padding: .2rem .7rem; text-decoration: none; color: var(--ink);
  border-left: 2px solid var(--line); }
nav.contents a:hover, nav.contents a:focus { border-left-color: var(--accent); color: var(--accent); }
nav.contents summary { font-weight: 600; padding: .25rem 0 .5rem; cursor: pointer; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: .8rem; margin: 0 0 1.5rem; }
.tile { border: 1px solid var(--line); border-radius: 6px; padding: .75rem .9rem .7rem; display: flex;
  flex-direction: column; }
.tile dt { font-size: .8rem; color: var(--muted); line-height: 1.3; min-height: 2.6em; }
.tile .value small { font-size: .9rem; font-weight: 500; }
.tile dd { margin: 0; }
.tile .value { font-size: 1.5rem; font-weight: 640; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile .note { font-size: .8rem; color: var(--muted); line-height: 1.35; }
section.part { border-top: 1px solid var(--line); padding-top: 1.6rem; margin-top: 2.2rem; }
section.part:first-of-type { margin-top: 0; }
h2 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem; font-weight: 640; letter-spacing: -.01em; }
h3 { font-size: 1.1rem; margin: 0 0 .25rem; font-weight: 640; }
section.panel { margin: 1.7rem 0 2.2rem; }
p { margin: 0 0 .8rem; max-width: 82ch; }
p.lead { color: var(--muted); font-size: .94rem; margin-bottom: .7rem; }
p.note { color: var(--muted); font-size: .85rem; margin: .35rem 0 0; }
p.warning { border-left: 4px solid #e69f00; background: #fdf6e6; padding: .55rem .9rem; font-size: .92rem; }
.controls { display: flex; flex-wrap: wrap; gap: .5rem 1.1rem; background: var(--soft); border-radius: 6px;
  padding: .6rem .9rem; margin: 0 0 .6rem; }
.controls label { font-size: .85rem; color: var(--muted); display: flex; align-items: center; gap: .45rem; }
.controls select { font: inherit; font-size: .9rem; color: var(--ink); background: #fff; border: 1px solid #b6c0c9;
  border-radius: 4px; padding: .25rem .4rem; max-width: 18rem; }
.plots { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; }
.plot { width: 100%; }
.js-plotly-plot .modebar-container .modebar { opacity: 0; transition: opacity .2s; }
.js-plotly-plot:hover .modebar-container .modebar { opacity: 1; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; min-width: 60%; }
th, td { padding: .38rem .8rem .38rem 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--muted); border-bottom: 1.5px solid #b6c0c9; line-height: 1.3; }
th.name, td.name { text-align: left; }
td.name { font-weight: 550; min-width: 5.5rem; }
th:first-child, td:first-child { min-width: 0; }
th:last-child, td:last-child { padding-right: 0; }
table.wide { font-size: .8rem; }
table.wide th, table.wide td { padding-right: .55rem; }
details.data { margin-top: .6rem; }
details.data > summary { cursor: pointer; font-size: .85rem; color: var(--accent); }
code { font-family: ui-monospace, "Liberation Mono", Menlo, Consolas, monospace; font-size: .84em;
  overflow-wrap: anywhere; }
.missing code { background: var(--soft); padding: .1rem .35rem; border-radius: 3px; }
dl.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .3rem 1.2rem; font-size: .875rem; }
dl.facts dt { color: var(--muted); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
footer { color: var(--muted); font-size: .82rem; border-top: 1px solid var(--line); margin-top: 2rem; padding: 1rem 0; }
@media (max-width: 960px) {
  .frame { grid-template-columns: minmax(0, 1fr); gap: 1rem; padding: 1rem; }
  nav.contents { position: static; border: 1px solid var(--line); border-radius: 6px; padding: .4rem .8rem; }
  .plots { grid-template-columns: minmax(0, 1fr); }
  header.top { padding: 1.4rem 1rem; }
  header.top h1 { font-size: 1.5rem; }
  .tile dt { min-height: 0; }
  .controls label { width: 100%; justify-content: space-between; }
  dl.facts { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dl.facts dd { margin-bottom: .5rem; }
}
@media print {
  @page { size: A4; margin: 14mm; }
  body { font-size: 10.5pt; }
  header.top { background: none; color: var(--ink); padding: 0 0 1rem; }
  header.top p, ul.facts { color: var(--muted); }
  nav.contents, .skip, .modebar-container { display: none !important; }
  .frame { display: block; padding: 0; }
  section.panel, .tile, figure, tr { break-inside: avoid; }
  h2, h3, p.lead { break-after: avoid; }
  .controls { background: none; padding: 0; }
  .plots { grid-template-columns: minmax(0, 1fr); }
}
"""
