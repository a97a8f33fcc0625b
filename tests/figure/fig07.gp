# Figure 7: A / small_figure
# smoke tier
#
# Draws fig07.pdf and fig07.svg from fig07.csv; written by mergescape.  By itself:
#   gnuplot fig07.gp
# One row of the CSV is one point.  The look is in style.gp.

if (!exists('kind')) { kind = 'pdf' }
if (!exists('name')) { name = 'fig07' }
reset
load 'style.gp'
data = 'fig07.csv'

if (kind eq 'pdf') {
  set terminal pdfcairo size 7.00in,5.85in font family.base fontscale 0.75
} else {
  set terminal svg size 504,422 dynamic font family.base linewidth 0.5 \
    background 'white'
}
set output name.'.'.kind

# Values of batch, in the order of their colours.
array values_batch[2] = ['32', '64']
rank_batch(s) = sum [k=1:|values_batch|] (values_batch[k] eq s ? k : 0)
colour_batch(i) = ramp(i, |values_batch|)

# Values of lr, in the order of their colours.
array values_lr[2] = ['0.01', '0.1']
rank_lr(s) = sum [k=1:|values_lr|] (values_lr[k] eq s ? k : 0)
colour_lr(i) = ramp(i, |values_lr|)

set multiplot

# ---- the page: title and legend, drawn with the first panel ----
eval new_panel
set label '{/:Bold '.'Figure 7: A \\ small\_figure'.'}' at screen 0.0086, screen 0.9757 left font large tc rgb INK
set label 'smoke tier' at screen 0.0086, screen 0.9509 left font small tc rgb GREY
# legend
set label '' at screen 0.1527, screen 0.0231 point ls 2
set label 'failed to converge' at screen 0.1613, screen 0.0231 left font small tc rgb GREY
set label 'line: median, band: quartiles' at screen 0.3044, screen 0.0231 left font small tc rgb GREY
set label 'box: median and quartiles' at screen 0.5156, screen 0.0231 left font small tc rgb GREY
set label 'paler: smaller epoch' at screen 0.7091, screen 0.0231 left font small tc rgb GREY

# ---- panel a: by batch size ----
set lmargin at screen 0.0839; set rmargin at screen 0.4821
set tmargin at screen 0.8950; set bmargin at screen 0.5875
set label '{/:Bold '.'a'.'}  '.'by batch size' at screen 0.0839, screen 0.9125 left font base tc rgb INK
set xrange [0.00891251:0.112202]; set yrange [-0.196:1.498]
set logscale x
set xtics nomirror ('0.01' 0.01, '0.1' 0.1)
set ytics nomirror 0.5
set format y '%.1f'
set label 'learning rate' at screen 0.2830, screen 0.5393 center font base tc rgb INK
set label 'gain (points)' at screen 0.0205, screen 0.7412 center rotate font base tc rgb INK
# legend
set label 'batch size' at screen 0.1666, screen 0.5085 left font small tc rgb GREY
set arrow from screen 0.2484, screen 0.5085 to screen 0.2741, screen 0.5085 nohead ls 1 lc rgb colour_batch(1)
set label '' at screen 0.2613, screen 0.5085 point ls 1 pt mark(1) lc rgb colour_batch(1)
set label '32' at screen 0.2805, screen 0.5085 left font small tc rgb INK
set arrow from screen 0.3162, screen 0.5085 to screen 0.3419, screen 0.5085 nohead ls 1 lc rgb colour_batch(2)
set label '' at screen 0.3290, screen 0.5085 point ls 1 pt mark(2) lc rgb colour_batch(2)
set label '64' at screen 0.3483, screen 0.5085 left font small tc rgb INK
plot \
  for [i=1:|values_batch|] data using (of('a', values_batch[i]) ? column('x') : NaN):(column('y_lo')):(column('y_hi')) \
    with filledcurves fc rgb colour_batch(i) fs transparent solid 0.17 noborder, \
  for [i=1:|values_batch|] data using (of('a', values_batch[i]) ? column('x') : NaN):(column('y')) \
    with linespoints ls 1 pt mark(i) lc rgb colour_batch(i), \
  data using (failed('a') ? edge(num('x'), 0.00937562, 0.10666) : NaN):(edge(num('y'), -0.12824, 1.44718)) \
    with points ls 2

# ---- panel b: all models ----
eval new_panel
set lmargin at screen 0.5789; set rmargin at screen 0.9771
set tmargin at screen 0.8950; set bmargin at screen 0.5875
set label '{/:Bold '.'b'.'}  '.'all models' at screen 0.5789, screen 0.9125 left font base tc rgb INK
array categories_b[2] = ['0.01', '0.1']
place_b(s) = sum [k=1:|categories_b|] (categories_b[k] eq s ? k : 0)
set xrange [0.4:2.6]; set yrange [-0.21:1.605]
set xtics nomirror ('0.01' 1, '0.1' 2)
set ytics nomirror 0.5
set format y '%.1f'
set label 'learning rate' at screen 0.7780, screen 0.5393 center font base tc rgb INK
set label 'gain' at screen 0.5155, screen 0.7412 center rotate font base tc rgb INK
array boxes_b[2] = ['0.01', '0.1']
plot \
  for [i=1:|boxes_b|] data using (place_b(boxes_b[i])):(panel('b') && strcol('x') eq boxes_b[i] ? num('y') : NaN):(0.55) \
    with boxplot lw 1.2 lc rgb colour_lr(rank_lr(boxes_b[i])), \
  for [i=1:|boxes_b|] data using (place_b(boxes_b[i]) + 0.6 * 0.55 * jitter($0)):(panel('b') && strcol('x') eq boxes_b[i] ? num('y') : NaN) \
    with points ls 3 ps 0.42 lc rgb clear(colour_lr(rank_lr(boxes_b[i])), 0.45), \
  data using (failed('b') ? place_b(strcol('x')) : NaN):(edge(num('y'), -0.1374, 1.55055)) \
    with points ls 2

# ---- panel c:  ----
eval new_panel
set lmargin at screen 0.0839; set rmargin at screen 0.4821
set tmargin at screen 0.4453; set bmargin at screen 0.1379
set label '{/:Bold '.'c'.'}  '.'' at screen 0.0839, screen 0.4628 left font base tc rgb INK
set xrange [19:41]; set yrange [-0.21:1.605]
set xtics nomirror 5
set format x '%.0f'
set ytics nomirror 0.5
set format y '%.1f'
set label 'epoch' at screen 0.2830, screen 0.0897 center font base tc rgb INK
set label 'gain' at screen 0.0205, screen 0.2916 center rotate font base tc rgb INK
# legend
set label 'learning rate' at screen 0.1710, screen 0.0589 left font small tc rgb GREY
set label '' at screen 0.2762, screen 0.0589 point ls 3 ps 0.55 lc rgb colour_lr(1)
set label '0.01' at screen 0.2826, screen 0.0589 left font small tc rgb INK
set label '' at screen 0.3344, screen 0.0589 point ls 3 ps 0.55 lc rgb colour_lr(2)
set label '0.1' at screen 0.3409, screen 0.0589 left font small tc rgb INK
plot \
  for [i=1:|values_lr|] data using (of('c', values_lr[i]) ? column('x') : NaN):(column('y')):(faded(colour_lr(i), column('opacity'), 20, 40)) \
    with points ls 3 lc rgb variable, \
  data using (failed('c') ? edge(num('x'), 19.44, 40.56) : NaN):(edge(num('y'), -0.1374, 1.55055)) \
    with points ls 2

# ---- panel d: ViT ----
eval new_panel
set lmargin at screen 0.5789; set rmargin at screen 0.9771
set tmargin at screen 0.4453; set bmargin at screen 0.1379
set label '{/:Bold '.'d'.'}  '.'ViT' at screen 0.5789, screen 0.4628 left font base tc rgb INK
set border 15 lc rgb FAINT; unset xzeroaxis; unset xtics; unset ytics
set label 'not at this tier' at graph 0.5, graph 0.50 center font small tc rgb GREY
set xrange [0:1]; set yrange [0:1]
plot NaN

unset multiplot
unset output
# The same again as SVG.
again = kind eq 'pdf'
kind = 'svg'
if (again) load 'fig07.gp'
