"""English function words: they end no passage of LAMBADA, and say nothing of what a sentence is about."""

STOP_WORDS = frozenset(
    """a about above after again against all am an and any are as at be because been before being below between both but by
    can could did do does doing don down during each even ever few for from further get got had has have having he her here
    hers herself him himself his how i if in into is it its itself just let like may me might more most much must my myself
    never no nor not now of off on once one only or other our ours ourselves out over own said same she should so some such
    than that the their theirs them themselves then there these they this those through to too under until up us very was we
    were what when where which while who whom why will with would yes yet you your yours yourself yourselves""".split()
)
