"""Synthetic CAF and MSA households (`foyers`), their life over months (`monde`) and the files that tell of them.

Entry points: `connectors.caf.generator` for files, `connectors.caf.synthese.monde.Monde` for a simulation.
"""
