-- Whether the clock is believed. Changes nothing.
return head(believes() and 1 or 0)
