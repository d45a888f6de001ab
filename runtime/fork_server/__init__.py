"""A process that has imported what others share, and forks them: they start in a tenth of a second.

`running` starts and finds it, `server` is it, `request` what the two say, `child` what a fork does
before it runs its module, `forked` a fork as its starter sees it, `fitness` who may not be forked.
"""
