"""One file per camera format that is written; `mirage.formats.cameras.save` chooses. `F`: frames."""
