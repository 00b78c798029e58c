"""The style sheet of the page of clusters, beyond what every page shares."""

STYLE = """
.grid { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr)); }
.card { padding: 1.1rem 1.2rem; min-width: 0; }
.wide { grid-column: 1 / -1; margin-bottom: 1rem; }
.chips { display: flex; flex-wrap: wrap; gap: .35rem; margin: 0 0 .8rem; padding: 0; border: 0; }
.chips legend, .chips input { position: absolute; opacity: 0; pointer-events: none; }
.chips label { display: flex; align-items: center; gap: .4rem; padding: .2rem .7rem;
  border: 1px solid var(--line); border-radius: 999px; cursor: pointer; font-size: .85rem;
  max-width: 100%; }
.chips label span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.chips input:checked + label { background: var(--ink); border-color: var(--ink);
  color: var(--page); }
.chips input:focus-visible + label { outline: 2px solid var(--bar); outline-offset: 2px; }
.dot { flex: none; display: inline-block; width: .75rem; height: .75rem; border-radius: 50%;
  background: var(--own); }
svg { display: block; width: 100%; height: auto; overflow: visible; }
.map { max-width: 62rem; margin: 0 auto; }
.map circle { fill: var(--own); fill-opacity: .72; }
.map circle:hover { fill-opacity: 1; stroke: var(--ink); stroke-width: 1.5; }
.map text { fill: var(--ink); stroke: var(--card); stroke-width: 4; paint-order: stroke;
  stroke-linejoin: round; font-weight: 650; text-anchor: middle; pointer-events: none; }
.curve text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.curve path { fill: none; stroke: var(--bar); stroke-width: 2; stroke-linejoin: round; }
.curve circle { fill: var(--bar); }
.curve line { stroke: var(--line); }
.cluster h2 { display: flex; align-items: center; gap: .5rem; overflow-wrap: anywhere; }
.cluster h2 small { margin-left: auto; color: var(--soft); font-weight: 400; white-space: nowrap; }
.share { height: 6px; margin: .5rem 0 .6rem; border-radius: 3px; background: var(--track);
  overflow: hidden; }
.share i { display: block; height: 100%; min-width: 2px; border-radius: 3px;
  background: var(--own); }
.terms { display: flex; flex-wrap: wrap; gap: .3rem; margin: 0 0 .7rem; padding: 0;
  list-style: none; }
.terms li { padding: .05rem .55rem; border-radius: 999px; background: var(--track);
  font-size: .85rem; overflow-wrap: anywhere; }
.typical { margin: 0; padding: 0; list-style: none; color: var(--soft); font-size: .88rem; }
.typical li { padding: .12rem 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: separate; border-spacing: 2px; font-variant-numeric: tabular-nums;
  font-size: .85rem; }
th { font-weight: 500; color: var(--soft); }
tbody th { padding-right: .6rem; text-align: left; white-space: nowrap; max-width: 18rem;
  overflow: hidden; text-overflow: ellipsis; }
td { min-width: 2.4rem; height: 2rem; padding: 0 .3rem; border-radius: 4px; text-align: center;
  background: color-mix(in oklab, var(--cell) calc(var(--part) * 1%), var(--track)); }
td.deep { color: #fff; }
td.right { --cell: #12855a; } td.wrong { --cell: #b62b44; }
td.none { background: none; }
.pairs { margin: .9rem 0 0; padding-left: 1.2rem; font-size: .9rem; }
@media (max-width: 34rem) { .map text { font-size: 34px; } .map circle { r: 7px; } }
"""
