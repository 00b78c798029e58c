"""The gallery's style sheet: phone and desktop, light and dark."""

STYLE = """
:root {
  --page: #f4f5f8; --card: #fff; --ink: #171a21; --soft: #636b7a; --line: #e0e3ea;
  --bar: #5b6ee8; --track: #eceef4; --right: #128a50; --wrong: #c4314b;
  --warn-page: #fff4d6; --warn-ink: #6b4a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1116; --card: #191c24; --ink: #eceef3; --soft: #98a0b0; --line: #2a2f3a;
    --bar: #8090ff; --track: #272c37; --right: #3ec987; --wrong: #ff7088;
    --warn-page: #352a10; --warn-ink: #ffdc8a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: clamp(1rem, 3vw, 2.5rem); max-width: 90rem;
  background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
header {
  background: var(--card); border: 1px solid var(--line); border-radius: 18px;
  padding: clamp(1.1rem, 3vw, 2rem);
}
.top { display: flex; flex-wrap: wrap; gap: 1.5rem; justify-content: space-between; }
.kind { margin: 0; color: var(--soft); font-size: .85rem; }
h1 { margin: .1rem 0 .9rem; font-size: clamp(1.6rem, 5vw, 2.4rem); line-height: 1.1;
  letter-spacing: -.02em; overflow-wrap: anywhere; }
dl { display: flex; flex-wrap: wrap; gap: .5rem 1.6rem; margin: 0; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; }
.big { display: flex; align-items: center; gap: .9rem; }
.big strong { font-size: clamp(2.6rem, 8vw, 3.8rem); line-height: 1; letter-spacing: -.04em;
  font-variant-numeric: tabular-nums; }
.big small { font-size: .45em; font-weight: 600; color: var(--soft); margin-left: .08em; }
.big span { color: var(--soft); font-size: .85rem; }
.warning { margin: 1rem 0 0; padding: .6rem .9rem; border-radius: 10px;
  background: var(--warn-page); color: var(--warn-ink); overflow-wrap: anywhere; }
.warning + .warning { margin-top: .4rem; }
.scroll { overflow-x: auto; margin-top: 1.4rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .5rem .9rem; text-align: right; white-space: nowrap;
  border-top: 1px solid var(--line); }
thead th { border: 0; color: var(--soft); font-weight: 500; font-size: .8rem; }
th:first-child { text-align: left; padding-left: 0; }
td:last-child, th:last-child { padding-right: 0; }
.range { position: relative; display: inline-block; width: 7rem; height: 6px; margin-right: .7rem;
  border-radius: 3px; background: var(--track); vertical-align: middle; }
.range i { position: absolute; inset-block: 0; min-width: 2px; border-radius: 3px;
  background: var(--bar); opacity: .45; }
.range b { position: absolute; top: -3px; width: 2px; height: 12px; margin-left: -1px;
  background: var(--bar); }
.filters { display: flex; align-items: center; gap: .3rem; margin: 1.4rem 0 0; padding: .25rem;
  width: max-content; border: 1px solid var(--line); border-radius: 999px;
  background: var(--card); }
.filters legend, .filters input { position: absolute; opacity: 0; pointer-events: none; }
.filters label { padding: .3rem .95rem; border-radius: 999px; cursor: pointer;
  color: var(--soft); font-weight: 500; }
.filters input:checked + label { background: var(--ink); color: var(--page); }
.filters input:focus-visible + label { outline: 2px solid var(--bar); outline-offset: 2px; }
body:has(#show-right:checked) .card:not(.right),
body:has(#show-wrong:checked) .card:not(.wrong) { display: none; }
h2 { margin: 2rem 0 .9rem; font-size: 1.25rem; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 small { margin-left: .4rem; color: var(--soft); font-size: .85rem; font-weight: 400; }
.cards { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(15.5rem, 100%), 1fr)); }
.card { margin: 0; overflow: hidden; border: 1px solid var(--line); border-radius: 14px;
  background: var(--card); }
.photo { position: relative; aspect-ratio: 4 / 3; background: var(--track); }
.photo img { display: block; width: 100%; height: 100%; object-fit: contain; }
.mark { position: absolute; left: .55rem; bottom: .55rem; margin: 0; padding: .12rem .6rem;
  max-width: calc(100% - 1.1rem); border-radius: 999px; background: var(--card);
  font-size: .8rem; font-weight: 600; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.right .mark { color: var(--right); }
.wrong .mark { color: var(--wrong); }
figcaption { padding: .75rem .9rem .9rem; }
ol { display: grid; gap: .45rem; margin: 0; padding: 0; list-style: none; }
li { display: grid; grid-template-columns: 1fr auto; gap: .15rem .6rem; font-size: .85rem;
  color: var(--soft); }
li:first-child { color: var(--ink); font-size: 1rem; font-weight: 600; }
.name { overflow-wrap: anywhere; }
.value { font-variant-numeric: tabular-nums; font-weight: 500; }
.bar { grid-column: 1 / -1; height: 5px; border-radius: 3px; background: var(--track);
  overflow: hidden; }
.bar i { display: block; height: 100%; min-width: 1px; border-radius: 3px;
  background: var(--soft); opacity: .55; }
li:first-child .bar i { background: var(--bar); opacity: 1; }
.right li:first-child .bar i { background: var(--right); }
.wrong li:first-child .bar i { background: var(--wrong); }
li.truth .name { color: var(--right); font-weight: 600; }
details { margin: 0 0 1rem; border: 1px solid var(--line); border-radius: 14px;
  background: var(--card); }
summary { padding: .6rem .9rem; cursor: pointer; font-weight: 500; }
details ol { grid-template-columns: repeat(auto-fill, minmax(min(12rem, 100%), 1fr));
  gap: .6rem 1.4rem; padding: .3rem .9rem 1rem; }
details li:first-child { color: var(--soft); font-size: .85rem; font-weight: 400; }
details li:first-child .bar i, details li .bar i { background: var(--bar); opacity: 1; }
footer { margin-top: 2rem; color: var(--soft); font-size: .85rem; max-width: 50rem; }
@media (max-width: 34rem) {
  .cards { grid-template-columns: repeat(2, 1fr); gap: .6rem; }
  figcaption { padding: .5rem .55rem .6rem; }
  .card li { font-size: .76rem; column-gap: .25rem; }
  .card li:first-child { font-size: .84rem; }
  .card li:nth-child(n + 4) { display: none; }
  .range { display: none; }
  th, td { padding-inline: .6rem; }
}
@media print { .filters { display: none; } .card { break-inside: avoid; } }
"""
