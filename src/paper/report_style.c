/* How the report looks: one column, light or dark as the reader's machine is. */
#include "paper/paper_int.h"

#include <stddef.h>

const char *const report_style[] = {
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#57606a;--line:#d0d7de;"
    "--panel:#f6f8fa;--link:#0b57a4;--pass:#14632c;--pass-bg:#dff3e3;--fail:#9b1c1c;"
    "--fail-bg:#fbe3e3;--open:#6b4a00;--open-bg:#fcefcf;--none-bg:#e9ecef;--k:#8a1c7c;"
    "--m:#0b57a4;--q:#14632c;--n:#7a4b00;--card:#fff}\n",
    "@media(prefers-color-scheme:dark){:root{--bg:#14171a;--fg:#e4e7ea;--soft:#a3adb8;"
    "--line:#3a4149;--panel:#1d2125;--link:#86bbff;--pass:#8fe0a6;--pass-bg:#12351d;"
    "--fail:#ffb0ab;--fail-bg:#4a1717;--open:#f4d58a;--open-bg:#40310c;--none-bg:#2b3137;"
    "--k:#e8a6dd;--m:#86bbff;--q:#8fe0a6;--n:#e9c07b;--card:#f0f1f2}}\n",
    "*{box-sizing:border-box}\n",
    "html{scroll-padding-top:3.6rem}\n",
    "body{margin:0 auto;max-width:58rem;padding:0 1rem 4rem;background:var(--bg);"
    "color:var(--fg);font:1rem/1.55 system-ui,-apple-system,\"Segoe UI\",sans-serif;"
    "overflow-wrap:break-word}\n",
    "a{color:var(--link)}\n",
    ":focus-visible{outline:3px solid var(--link);outline-offset:2px}\n",
    "h1{line-height:1.2;font-size:1.75rem;margin:1.5rem 0 .5rem}\n",
    "h2{font-size:1.4rem;margin:3rem 0 .75rem;border-bottom:1px solid var(--line)}\n",
    "h3{font-size:1.15rem;margin:2.75rem 0 .25rem}\n",
    "p{margin:.5rem 0}\n",
    ".soft{color:var(--soft)}\n",
    ".skip{position:absolute;left:-99rem;z-index:2;background:var(--bg);padding:.75rem}\n",
    ".skip:focus{left:0}\n",
    "nav.top{position:sticky;top:0;z-index:1;background:var(--bg);margin:0 -1rem;padding:0 1rem;"
    "border-bottom:1px solid var(--line)}\n",
    "nav ul{display:flex;gap:.25rem;overflow-x:auto;list-style:none;margin:0;padding:.25rem}\n",
    "nav li a{display:block;padding:.5rem .6rem;white-space:nowrap}\n",
    "nav.numbers ul{flex-wrap:wrap;padding:0}\n",
    "nav.numbers a{min-width:2.75rem;text-align:center;border:1px solid var(--line);"
    "border-radius:.4rem;text-decoration:none}\n",
    ".wide{overflow-x:auto;border:1px solid var(--line);border-radius:.5rem;margin:.75rem 0}\n",
    "table{border-collapse:collapse;width:100%;font-size:.9rem}\n",
    "caption{text-align:left;padding:.6rem .75rem;color:var(--soft)}\n",
    "th,td{text-align:left;vertical-align:top;padding:.4rem .75rem;"
    "border-top:1px solid var(--line);overflow-wrap:normal}\n",
    "thead th{background:var(--panel)}\n",
    "td.num,th.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\n",
    ".line{white-space:nowrap}.line,.claims td{font-variant-numeric:tabular-nums}\n",
    ".claims th,.claims td{padding-inline:.5rem}.claims code{overflow-wrap:anywhere}\n",
    "td.text{min-width:16rem;width:60%}\n",
    ".verdict{display:inline-block;padding:0 .5rem;border-radius:.4rem;white-space:nowrap;"
    "font-weight:600;font-size:.85rem;background:var(--none-bg)}\n",
    "td .verdict{white-space:normal}\n",
    ".pass{color:var(--pass);background:var(--pass-bg)}\n",
    ".fail{color:var(--fail);background:var(--fail-bg)}\n",
    ".undecided{color:var(--open);background:var(--open-bg)}\n",
    ".only{position:absolute;opacity:0}\n",
    ".only+label{display:inline-block;cursor:pointer;padding:.45rem .7rem;margin:.15rem 0;"
    "border:1px solid var(--line);border-radius:.4rem}\n",
    ".only:checked+label{border-color:var(--fg);box-shadow:inset 0 0 0 1px var(--fg);"
    "font-weight:600}\n",
    ".only:focus-visible+label{outline:3px solid var(--link);outline-offset:2px}\n",
    "#only-0:checked~.wide tr:not(.v0,.head),#only-1:checked~.wide tr:not(.v1,.head),"
    "#only-2:checked~.wide tr:not(.v2,.head),#only-3:checked~.wide tr:not(.v3,.head),"
    "#only-4:checked~.wide tr:not(.v4,.head){display:none}\n",
    "tr:target,pre:target{background:var(--open-bg)}\n",
    "figure{margin:.75rem 0}\n",
    ".card{background:var(--card);overflow-x:auto;border:1px solid var(--line);"
    "border-radius:.5rem;padding:.5rem}\n",
    ".card svg{display:block;width:100%;min-width:34rem;height:auto;color:#000;"
    "mix-blend-mode:multiply}\n",
    "figcaption{color:var(--soft);font-size:.9rem;margin:.4rem 0}\n",
    "dl{display:grid;grid-template-columns:6.5rem minmax(0,1fr);gap:.15rem 1rem;"
    "font-size:.9rem;margin:.75rem 0}\n",
    "dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\n",
    "ul.claims{list-style:none;padding:0;margin:.5rem 0}\n",
    "ul.claims li{margin:.3rem 0}\n",
    "details{border:1px solid var(--line);border-radius:.5rem;margin:.4rem 0}\n",
    "summary{cursor:pointer;padding:.55rem .75rem}\n",
    "details>.wide{border-width:1px 0 0;border-radius:0;margin:0}\n",
    "pre{margin:0;padding:.75rem;overflow-x:auto;background:var(--panel);font-size:.85rem;"
    "line-height:1.45;border-radius:0 0 .5rem .5rem;tab-size:2}\n",
    "code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}\n",
    "pre .k{color:var(--k);font-weight:600}pre .m{color:var(--m)}pre .q{color:var(--q)}"
    "pre .c{color:var(--soft);font-style:italic}pre .n{color:var(--n)}pre .s{color:inherit}\n",
    /* A claim is a block where seven columns have no room; what a cell says stands before it. */
    "@media(max-width:58rem){.claims,.claims tbody,.claims caption,.claims td,.claims tbody th"
    "{display:block}.claims thead{position:absolute;left:-99rem}"
    ".claims tbody tr{display:grid;grid-template-columns:auto minmax(0,1fr);gap:.1rem .75rem;"
    "padding:.6rem .75rem;border-top:1px solid var(--line)}"
    ".claims tbody th,.claims td{padding:0;border:0}"
    ".claims td.text,.claims td[data-is]{grid-column:1/-1;width:auto;min-width:0}"
    ".claims td[data-is]::before{content:attr(data-is) \": \";color:var(--soft)}}\n",
    "@media(max-width:40rem){h1{font-size:1.35rem}th,td,caption{padding-inline:.45rem}"
    "td.text{min-width:12.5rem}}\n",
    "@media print{nav,.skip,.only,.only+label{display:none}body{max-width:none;font-size:.8rem}"
    "figure,tr,dl{break-inside:avoid}h3{break-after:avoid}"
    ".wide,.card,pre{overflow:visible}.card svg{min-width:0}pre{white-space:pre-wrap}}\n",
    NULL};
