//! How pictures look: two palettes, and what is drawn in which colour.
//!
//! A picture stands alone, or inside a page of the manual; there it takes the page's own choice of
//! light or dark. Every rule is below one class, so that it means nothing to the page around it.

/// The sheet. No line of it is empty: inside a page of Markdown that would end the picture.
pub(super) const SHEET: &str = "\
.qp{--paper:#fff;--ink:#1f2328;--dim:#59636e;--line:#d1d9e0;--quiet:#f6f8fa;--plain:#ddf4ff;\
--edge:#afb8c1;--plainedge:#54aeff;--seek:#fff8c5;--seekedge:#d4a72c;--lead:#dafbe1;\
--leadedge:#4ac26b;--wire:#0550ae;--bad:#cf222e;max-width:100%;height:auto}
@media (prefers-color-scheme:dark){.qp{--paper:#0d1117;--ink:#e6edf3;--dim:#9198a1;\
--line:#2b323b;--quiet:#161b22;--plain:#12263f;--edge:#484f58;--plainedge:#316dca;--seek:#2e2610;\
--seekedge:#9e6a03;--lead:#11301c;--leadedge:#2ea043;--wire:#79c0ff;--bad:#ff7b72}}
[data-theme=light] .qp{--paper:#fff;--ink:#1f2328;--dim:#59636e;--line:#d1d9e0;--quiet:#f6f8fa;\
--plain:#ddf4ff;--edge:#afb8c1;--plainedge:#54aeff;--seek:#fff8c5;--seekedge:#d4a72c;\
--lead:#dafbe1;--leadedge:#4ac26b;--wire:#0550ae;--bad:#cf222e}
[data-theme=dark] .qp,[data-theme=ayu] .qp{--paper:#0d1117;--ink:#e6edf3;--dim:#9198a1;\
--line:#2b323b;--quiet:#161b22;--plain:#12263f;--edge:#484f58;--plainedge:#316dca;--seek:#2e2610;\
--seekedge:#9e6a03;--lead:#11301c;--leadedge:#2ea043;--wire:#79c0ff;--bad:#ff7b72}
.qp text{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:11px;\
fill:var(--ink)}
.qp .halo{paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}
.qp .title{font-size:14px;font-weight:bold}.qp .head{font-size:13px;font-weight:bold}
.qp .dim{fill:var(--dim)}.qp .why{fill:var(--dim);font-style:italic}
.qp .wire{fill:var(--wire)}.qp .lost,.qp .bad{fill:var(--bad)}.qp .bad{font-weight:bold}
.qp .end{text-anchor:end}.qp .mid{text-anchor:middle}
.qp .paper{fill:var(--paper)}.qp .life{stroke:var(--line);stroke-dasharray:2 3}
.qp .note{stroke:var(--line)}.qp .dot{fill:var(--ink)}
.qp .quiet{fill:var(--quiet);stroke:var(--edge)}
.qp .plain{fill:var(--plain);stroke:var(--plainedge)}
.qp .seek{fill:var(--seek);stroke:var(--seekedge)}.qp .lead{fill:var(--lead);stroke:var(--leadedge)}
.qp .torn{fill:none;stroke:var(--bad);stroke-width:1.5}
.qp .go{fill:none;stroke:var(--wire);stroke-linejoin:round}.qp .off{stroke:var(--bad)}
.qp .late{stroke-dasharray:4 3}.qp .tip{fill:var(--wire)}
.qp .ring{fill:var(--paper);stroke:var(--wire)}
";
