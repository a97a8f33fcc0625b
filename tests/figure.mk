# tests of figure
